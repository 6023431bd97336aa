"""Which bounds hold for which case, and in which order they go before each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_triton.case import Load
from pytest_triton.errors import UsageError
from pytest_triton.slo import SLO
from pytest_triton.slo_rules import Choice, Rule, Subject, check_load, check_names, resolve

I1 = Subject("i1-c1", {"instance_group.count": 1}, Load(concurrency=1))
I2 = Subject("i2-c4", {"instance_group.count": 2, "dynamic_batching": {}}, Load(concurrency=4))
BARE = Subject("default", {}, Load())


def rule(
    p95: str, *choices: Choice, source: str = "", file: bool = False, own: bool = False, load: Any = None, **limits: Any
) -> Rule:
    bounds = SLO.parse({**({"p95": p95} if p95 else {}), **limits}, source or p95).bounds
    return Rule(bounds, source or p95, choices, load or {}, from_file=file, own=own)


BY_COUNT = {"instance_group.count": (2,)}
BY_BOTH = {"instance_group.count": (2,), "dynamic_batching": ({},)}


@pytest.mark.parametrize(
    ("rules", "limit"),
    [
        # The nearest marker first.
        ([rule("10ms"), rule("20ms")], 10),
        # A marker before the file, however special the file is.
        ([rule("10ms"), rule("20ms", "i2-c4", file=True)], 10),
        # The more special before the nearer: an id, then more conditions, then fewer, then none.
        ([rule("10ms"), rule("20ms", "i2-c4")], 20),
        ([rule("10ms"), rule("20ms", BY_COUNT)], 20),
        ([rule("10ms", BY_COUNT), rule("20ms", BY_BOTH)], 20),
        ([rule("10ms", BY_BOTH), rule("20ms", "i2-c4")], 20),
        ([rule("10ms", "i2-c4"), rule("20ms", "i2-c4")], 10),
        ([rule("10ms", BY_COUNT), rule("20ms", {"concurrency": (4, 8)})], 10),
        # The same within a file.
        ([rule("10ms", file=True), rule("20ms", "i2-c4", file=True)], 20),
        ([rule("10ms", file=True), rule("20ms", file=True, load={"concurrency": (4,)})], 20),
        ([rule("10ms", BY_COUNT, file=True, load={"concurrency": (4,)}), rule("20ms", BY_COUNT, file=True)], 10),
        # One of several choices is enough; one of none is not.
        ([rule("10ms", "i9", "i2-c4")], 10),
        ([rule("10ms", "i9", {"instance_group.count": (9,)}), rule("20ms", file=True)], 20),
        ([rule("10ms", {"max_batch_size": (8,)}), rule("20ms")], 20),
        ([rule("10ms", file=True, load={"protocol": ("grpc",)}), rule("20ms", file=True)], 20),
    ],
)
def test_what_goes_before_what(rules: Sequence[Rule], limit: float) -> None:
    (bound,) = resolve(rules, I2).bounds
    assert bound.limit == pytest.approx(limit / 1e3)
    assert bound.source == f"{limit}ms"


def test_rules_add_up_bound_by_bound() -> None:
    rules = [
        rule("", "i1-c1", source="special", throughput="5/s"),
        rule("10ms", source="marker"),
        rule("", source="file", file=True, error_rate="0%", throughput=[(">=", "1/s"), ("<=", "9/s")]),
    ]
    found = [(str(bound), bound.source) for bound in resolve(rules, I1).bounds]
    assert found == [
        ("error_rate <= 0 %", "file"),
        ("throughput >= 5.00/s", "special"),
        ("p95 <= 10.0 ms", "marker"),
    ]
    # All that a rule says of a metric goes together.
    assert "throughput <= 9.00/s" in [str(bound) for bound in resolve(rules, I2).bounds]
    assert resolve([], I1) == SLO()


def test_bounds_from_two_places_may_contradict_each_other() -> None:
    rules = [rule("10ms", source="triton_slo"), Rule(SLO.parse({"p50": (">=", "1s")}, "slo.toml [slo]").bounds)]
    with pytest.raises(UsageError, match=r"p50 >= 1.00 s \(slo.toml \[slo\]\) and p95 <= 10.0 ms \(triton_slo\) con"):
        resolve(rules, I1)


def test_two_tables_of_a_file_that_are_equally_special_must_agree() -> None:
    one = rule("10ms", file=True, load={"concurrency": (4,)})
    other = rule("20ms", file=True, load={"protocol": ("http",)})
    with pytest.raises(UsageError, match="20ms and 10ms both bound p95 of i2-c4"):
        resolve([one, other], I2)
    assert resolve([one, other], I1).bounds[0].source == "20ms"
    assert resolve([one, rule("10ms", file=True, load={"protocol": ("http",)})], I2).bounds


@pytest.mark.parametrize(
    ("bad", "search", "problem", "hint"),
    [
        (rule("1s", "i2-c5", own=True), True, "no candidate of this test has the id 'i2-c5'", "did you mean 'i2-c4'?"),
        (rule("1s", "i2-c5"), True, "has the id 'i2-c5'", "did you mean 'i2-c4'?"),
        (rule("1s", "i2-c5", file=True), True, "has the id 'i2-c5'", "did you mean 'i2-c4'?"),
        (rule("1s", "i1-c1", "i2-c5", own=True), True, "has the id 'i2-c5'", "did you mean 'i2-c4'?"),
        (rule("1s", "i2-c5", own=True), False, "has the id 'i2-c5'", "did you mean 'i2-c4'?"),
        (rule("1s", "best"), True, "has the id 'best'", "the candidate that wins"),
        (rule("1s", {"instance_group.count": (3,)}), True, "no case of this test has instance_group.count=3", "1, 2"),
        (rule("1s", {"instance_group.kind": (1,)}), True, "kind is no axis of this test", "instance_group.count"),
        (rule("1s", {"concurrency": (3,)}), True, "no case of this test has concurrency=3", "there is 1, 4"),
        (rule("1s", {"concurrency": (1,), "dynamic_batching": ({},)}), True, "all of concurrency, dynamic_b", "fewer"),
    ],
)
def test_what_no_case_has_is_named_with_the_nearest(bad: Rule, search: bool, problem: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_names([bad], [I1, I2], search=search)
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("fine", "search"),
    [
        (rule("1s", "default"), True),
        (rule("1s", {"instance_group.count": (3,)}, file=True), True),  # another search's
        (rule("1s", "i9"), False),  # stands on the module, for another test
        (rule("1s", "i9", file=True), False),
        (rule("1s", file=True, load={"concurrency": (77,)}), True),
    ],
)
def test_what_may_mean_another_test_is_no_error(fine: Rule, search: bool) -> None:
    check_names([fine], [I1, I2, BARE], search=search)


def test_one_case_without_an_id_has_no_candidates() -> None:
    with pytest.raises(UsageError) as caught:
        check_names([rule("1s", "i2", own=True)], [Subject("", {}, Load())], search=False)
    assert "leave candidate out" in caught.value.hint


CLOSED, OPEN, STREAM = Load(), Load(rate=9.0), Load(protocol="grpc", streaming=True)


@pytest.mark.parametrize(
    ("metric", "limit", "fits", "does_not"),
    [
        ("ttfr_p99", "1s", STREAM, CLOSED),
        ("inter_response_p50", "1s", STREAM, OPEN),
        ("responses", 2, STREAM, CLOSED),
        ("response_throughput", "9/s", STREAM, OPEN),
        ("send_lag_p99", "1ms", OPEN, CLOSED),
        ("offered_rate", "9/s", OPEN, STREAM),
        ("achieved_rate", "9/s", OPEN, CLOSED),
    ],
)
def test_a_metric_that_the_load_cannot_give(metric: str, limit: object, fits: Load, does_not: Load) -> None:
    slo = SLO.parse({metric: limit}, "triton_slo")
    check_load(slo, fits)
    with pytest.raises(UsageError, match=rf"{metric} .*\(triton_slo\): this load does not give {metric}; it takes"):
        check_load(slo, does_not)
