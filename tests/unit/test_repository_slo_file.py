"""slo.toml beside a model: what it may say, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_triton.case import Load
from pytest_triton.plugin.markers import reading_in
from pytest_triton.repository.slo_file import SLOFileError, read_rules
from pytest_triton.slo_rules import Subject, resolve

WHOLE = """
[slo]
error_rate = "0%"
p95 = "25ms"
throughput = [[">=", "100/s"], ["<=", "1k/s"]]

[slo."i2-dyn"]
batch = [">=", 2]
p95 = "40ms"

[[case]]
concurrency = [8, 16]
protocol = "grpc"
p95 = "80ms"

[[case]]
candidate = { instance_count = 2, max_queue_delay = "1ms" }
p95 = "50ms"

[[case]]
candidate = ["i3", { "instance_group.count" = 4 }]
rate = "400/s"
p95 = "60ms"

[[case]]
sequence_length = [10, 90]
p95 = "70ms"
"""


def read(folder: Path, text: str) -> dict[str, str]:
    (folder / "slo.toml").write_text(text)
    return {rule.source: ", ".join(map(str, rule.bounds)) for rule in rules(folder)}


def rules(folder: Path):  # type: ignore[no-untyped-def]
    return read_rules(folder / "slo.toml", reading_in(folder))


def test_a_file_says_what_holds_for_all_and_for_some(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == {
        "slo.toml [slo]": "error_rate <= 0 %, p95 <= 25.0 ms, throughput >= 100.0/s, throughput <= 1,000/s",
        'slo.toml [slo."i2-dyn"]': "batch >= 2.00, p95 <= 40.0 ms",
        "slo.toml [[case]] number 1": "p95 <= 80.0 ms",
        "slo.toml [[case]] number 2": "p95 <= 50.0 ms",
        "slo.toml [[case]] number 3": "p95 <= 60.0 ms",
        "slo.toml [[case]] number 4": "p95 <= 70.0 ms",
    }


DELAY = "dynamic_batching.max_queue_delay_microseconds"


@pytest.mark.parametrize(
    ("subject", "milliseconds"),
    [
        (Subject("", {}, Load()), 25),
        (Subject("i2-dyn", {}, Load(concurrency=8, protocol="grpc")), 40),
        (Subject("", {}, Load(concurrency=8)), 25),
        (Subject("", {}, Load(concurrency=16, protocol="grpc")), 80),
        (Subject("i2", {"instance_group.count": 2, DELAY: 1000}, Load()), 50),
        (Subject("i2", {"instance_group.count": 2}, Load()), 25),
        (Subject("i3", {"instance_group.count": 3}, Load(rate=400.0)), 60),
        (Subject("i4", {"instance_group.count": 4}, Load(rate=400.0)), 60),
        (Subject("i4", {"instance_group.count": 4}, Load(rate=300.0)), 25),
        (Subject("", {}, Load(sequence_length=(10, 90))), 70),
    ],
)
def test_each_case_has_its_bounds(tmp_path: Path, subject: Subject, milliseconds: float) -> None:
    read(tmp_path, WHOLE)
    bounds = {bound.metric.name: bound.limit for bound in resolve(rules(tmp_path), subject).bounds}
    assert bounds["p95"] == pytest.approx(milliseconds / 1e3)
    assert bounds["error_rate"] == 0


def test_without_a_file_nothing_is_said(tmp_path: Path) -> None:
    assert rules(tmp_path) == ()
    assert read(tmp_path, "") == {}
    assert read(tmp_path, "# nothing yet\n[slo]\n") == {}


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[slo]\np95 = 25ms", "is no TOML: Expected newline or end of document after a statement (at line 2", '"25ms"'),
        ('p95 = "25ms"', "there is no key 'p95'", "write [slo] above it"),
        ('[sol]\np95 = "25ms"', "there is no key 'sol'", "did you mean 'slo'?"),
        ("slo = 3", "slo is no table", "[slo]"),
        ('[slo]\nq95 = "25ms"', "[slo]: unknown metric 'q95'", "did you mean 'p95'?"),
        ("[slo]\np95 = 25", "[slo]: p95: 25 has no unit", "'25ms'"),
        ('[slo]\np95 = {most = "25ms"}', "[slo]: p95 is a table", 'write p95 = "..."'),
        ('[slo.i2]\nq95 = "25ms"', "[slo.i2]: unknown metric 'q95'", "did you mean 'p95'?"),
        ('[slo."i2-dyn"]\np95 = 1', '[slo."i2-dyn"]: p95: 1 has no unit', "'25ms'"),
        (
            '[slo]\np99 = "1ms"\np50 = [">=", "2ms"]',
            "[slo]: p50 >= 2.00 ms and p99 <= 1.00 ms contradict",
            "change one",
        ),
        ('[slo]\nerror_rate = "120%"', "[slo]: error_rate <= 120.0 %: it is never above", "can miss"),
        ('[case]\nconcurrency = 4\np95 = "1s"', "case is not a list of tables", "[[case]]"),
        ('[[case]]\nconcurency = 4\np95 = "1s"', "[[case]] number 1: there is no key 'concurency'", "'concurrency'"),
        ('[[case]]\nconcurrency = 0\np95 = "1s"', "[[case]] number 1: concurrency=0", "at least 1"),
        ('[[case]]\nconcurrency = []\np95 = "1s"', "[[case]] number 1: concurrency=[] selects nothing", "at least one"),
        ('[[case]]\nconcurrency = 4\n[[case]]\np95 = "1s"', "number 1: it bounds nothing", "metric and its limit"),
        ('[[case]]\np95 = "1s"', "number 1: nothing says which cases it is for", "a candidate"),
        ('[[case]]\ncandidate = 2\np95 = "1s"', "candidate=2 names no candidate", "'i2-dyn'"),
        ('[[case]]\ncandidate = {instance_cont = 2}\np95 = "1s"', "instance_cont", "instance_count"),
        ('[[case]]\ncandidate = {instance_count = 0}\np95 = "1s"', "number 1: instance_group.count", "1"),
        ('[[case]]\ncandidate = {concurency = 2}\np95 = "1s"', "concurency", "did you mean 'concurrency'?"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_place(tmp_path: Path, text: str, problem: str, hint: str) -> None:
    with pytest.raises(SLOFileError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "slo.toml") in caught.value.problem
    assert problem in caught.value.problem
    assert hint in caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "slo.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SLOFileError, match=r"slo\.toml cannot be read: it is no UTF-8"):
        rules(tmp_path)
    (tmp_path / "slo.toml").unlink()
    (tmp_path / "slo.toml").mkdir()
    with pytest.raises(SLOFileError, match=r"slo\.toml cannot be read: Is a directory"):
        rules(tmp_path)
