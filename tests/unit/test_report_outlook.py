"""How far a search is, from its candidates' records alone."""

import time

import pytest

from pytest_triton.report.outlook import describe, interrupted, lead, reused, show_moment, show_time, tells
from pytest_triton.results.record import Record


def candidate(point: str, value: float | None = None, *, by: str = "throughput", metric: str = "", **others) -> Record:
    measurement = {metric or by: {"value": value, "low": None, "high": None, "unit": ""}} if value is not None else {}
    return Record(
        **{
            "id": f"test_best[{point}]",
            "key": "k",
            "model": "m",
            "configuration": {},
            "load": {},
            "slo": {},
            "verdict": "PASS",
            "status": "measured",
            "search": "s",
            "point": point,
            "seconds": 10.0,
            "began": 1.0,
            "measurement": measurement,
            "settings": {"instances": 2},
            "sought": {"objectives": [by], "candidates": 5, "turn": point},
            **others,
        }
    )


@pytest.mark.parametrize(
    ("records", "shown"),
    [
        ([], ""),
        ([candidate("i1"), candidate("i2", 40.0, status="infeasible")], ""),
        ([candidate("i1", 40.0), candidate("i2", 47.3), candidate("i3", 99.0, status="disqualified")], "i2 47.3/s"),
        ([candidate("i1", 0.04, by="p99"), candidate("i2", 0.047, by="p99")], "i1 40.0 ms"),
        (
            [candidate("i1", 40.0, by="throughput/instances", metric="throughput")],
            "i1 20.0/s per instance",
        ),
    ],
    ids=["nothing", "none that may win", "the best that may win", "a latency", "a ratio"],
)
def test_who_leads(records, shown):
    assert lead(records) == shown


def test_what_is_left_and_for_how_long():
    old = candidate("i1", 40.0, seconds=1000.0, reused="before")
    skipped = candidate("i3", status="skipped", seconds=0.0)
    records = [old, candidate("i2", 47.0, seconds=20.0), skipped]
    assert describe([], left=5) == "5 of 5 left"
    assert describe(records, left=2) == "leads: i2 47.0/s, 2 of 5 left, about 40 s"
    assert describe(records, left=2, seconds=30.0) == "leads: i2 47.0/s, 2 of 5 left, about 30 s"
    assert describe(records, left=2, seconds=-3.0).endswith("about 1 s")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.1, "1 s"), (89.0, "89 s"), (91.0, "2 min"), (3599.0, "60 min"), (7800.0, "2 h 10 min")]
)
def test_a_rough_time(seconds, shown):
    assert show_time(seconds) == shown


def test_an_interrupted_search_says_who_leads_and_how_to_go_on():
    failed = candidate("i2", status="error")
    assert interrupted([candidate("i1", 40.0), failed, candidate("i3", status="unloadable")]) == [
        "The search for m was not decided: i1 40.0/s leads by its first figures.",
        "Run it again to go on: 2 of 5 candidates are kept.",
    ]
    assert interrupted([failed]) == ["The search for m was not decided: nothing leads yet."]


def test_what_tells_nothing_is_measured_anew():
    assert not tells(candidate("i1", status="skipped"))
    assert tells(candidate("i1", 40.0, status="skipped")), "it was measured, and beaten"
    assert not tells(candidate("", status=""))


def test_what_was_reused_is_said_with_its_time():
    now = time.time()
    records = [candidate("i1", 40.0, reused="run", began=now), candidate("i2", 47.0)]
    assert reused(records) == [
        f"1 of 5 candidates reused from the run of {show_moment(now)} (--triton-fresh measures anew)."
    ]
    assert reused(records[1:]) == []
    assert len(show_moment(now)) == len("10:32")
    assert len(show_moment(now - 3 * 86400)) == len("2026-11-22 10:32")
