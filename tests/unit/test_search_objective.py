"""What a search may optimise, how it is written, and what a gain in it is."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_triton.errors import UsageError
from pytest_triton.metrics import Better, Estimate
from pytest_triton.search.objective import objective, objectives

METRICS = {
    "throughput": Estimate(400.0, 390.0, 410.0),
    "p99": Estimate(0.025, 0.02, 0.03),
    "gpu_memory": Estimate(2 * 2**30),
    "gpu_power": Estimate(250.0),
    "other:throughput": Estimate(100.0, 90.0, 110.0),
}


@pytest.mark.parametrize(
    ("wish", "value", "low", "high", "shown"),
    [
        ("throughput", 400, 390, 410, "400.0/s"),
        ("p99", 0.025, 0.02, 0.03, "25.0 ms"),
        ("throughput/instances", 100, 97.5, 102.5, "100.0/s per instance"),
        ("throughput/gpu_memory", 400 / 2**31, None, None, "200.0/s per GiB"),
        ("throughput/gpu_power", 400 / 250, None, None, "1.60/s per W"),
        # Better when higher: the slower p99 makes the lower end.
        ({"throughput": 1, "p99": 1}, 126.49, 114.02, 143.18, "126.5"),
        ("3 throughput + p99", 224.9, None, None, "224.9"),
        ("other:throughput", 100, 90, 110, "100.0/s"),
        ("throughput + 0.5 * other:throughput", 251.98, 239.2, 264.4, "252"),
    ],
)
def test_a_value_has_the_interval_of_its_parts(
    wish: Any, value: float, low: float | None, high: float | None, shown: str
) -> None:
    found = objective(wish).value(METRICS, 4)
    assert found is not None
    assert found.value == pytest.approx(value, rel=1e-3)
    for end, expected in ((found.low, low), (found.high, high)):
        assert expected is None or end == pytest.approx(expected, rel=1e-3)
    assert objective(wish).show(found.value) == shown


def test_what_is_not_measured_has_no_value() -> None:
    assert objective("throughput/rss").value(METRICS, 4) is None


@pytest.mark.parametrize("wish", ["throughput", "p99", "throughput/instances", {"throughput": 3, "m:p99": 1}])
def test_a_name_reads_back(wish: Any) -> None:
    assert objective(objective(wish).name) == objective(wish)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("speed", "speed"),
        ("error_rate", "error_rate is no objective"),
        ("throughput/p99", "cannot divide by 'p99'"),
        ("p99/instances", "better when it is lower"),
        ({"throughput": 0}, "weight of 'throughput' is 0"),
        ({"throughput": True}, "weight of 'throughput' is True"),
        ("much throughput + 1 p99", "'much throughput' is no weight and metric"),
        ("throughput + p99 + throughput", "names 'throughput' twice"),
        ("other:rss", "the whole server's"),
        ("other:error_rate", "other:error_rate is no objective"),
        ("throughput +", "unknown metric ''"),
        ({}, "no objective"),
        (7, "7 is no objective"),
        ([], "nothing to optimise"),
        (["p99", "throughput", "p99"], "named twice"),
    ],
)
def test_what_is_none_is_told(wish: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        objectives(wish)


def test_a_gain_is_a_fraction_of_what_there_was() -> None:
    throughput, p99 = objective("throughput"), objective("p99")
    assert (throughput.better, p99.better) == (Better.HIGHER, Better.LOWER)
    assert throughput.gain(throughput.quotient(150, 100)) == pytest.approx(0.5)
    assert p99.gain(p99.quotient(0.01, 0.02)) == pytest.approx(0.5)
    assert p99.gain(p99.quotient(0.03, 0.02)) == pytest.approx(-0.5)


def test_nothing_served_is_hopeless_whichever_way_is_better() -> None:
    throughput, p99 = objective("throughput"), objective("p99")
    assert throughput.quotient(0.0, 100.0) < 1e-9
    assert p99.quotient(float("inf"), 0.02) < 1e-9
    gain = throughput.gain_of([throughput.quotient(0.0, 100.0)] * 8, 0.95)
    assert gain.value == pytest.approx(-1)
