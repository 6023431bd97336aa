"""What the terminal says of a search: its table, its decision, and why nothing won."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_triton.report import summary
from pytest_triton.report.message import no_winner
from pytest_triton.report.search_table import MOST_ROWS, search_table
from pytest_triton.results.record import Record
from pytest_triton.search.objective import objective

LOAD = {"concurrency": 4, "batch_size": 1, "protocol": "http"}


def figures(throughput: float, p99: float, **others: float) -> dict[str, dict[str, Any]]:
    """A measurement as JSON has it."""
    values = {"throughput": throughput, "p99": p99, **others}
    return {name: {"value": value, "low": None, "high": None, "unit": ""} for name, value in values.items()}


def candidate(point: str, throughput: float = 0.0, p99: float = 0.01, **others: Any) -> Record:
    """A candidate of the search; without a throughput, one that was not measured."""
    settings = {"max_batch_size": 8, "dynamic_batching": True, "instances": others.pop("instances", 1)}
    known: dict[str, Any] = {
        "status": "measured",
        "settings": settings,
        "measurement": figures(throughput, p99) if throughput else {},
        "sought": {"objectives": ["throughput"], "candidates": 4},
    }
    return Record(f"t[{point}]", point, "m", {}, LOAD, {}, "PASS", search="s", point=point, **{**known, **others})


def end(winner: str | None, **summary: Any) -> Record:
    """The record that decides it."""
    told = {
        "model": "m",
        "objective": "throughput",
        "objectives": ["throughput"],
        "winner": winner,
        "configuration": {},
        "gain": {"value": 0.5, "low": 0.4, "high": 0.6},
        "gain_shown": "+50.0% (+40.0% to +60.0%)",
        "tie": False,
        "front": {},
        "measured": 3,
        "candidates": 4,
        "seconds": 12.0,
        "default": figures(100, 0.02),
        "default_settings": {"max_batch_size": 8, "dynamic_batching": False, "instances": 2},
        "default_load": {**LOAD, "concurrency": 2},
        "gains_shown": {"i2": "+50.0% (+40.0% to +60.0%)", "i3": "+49.0%"},
        "rejected": [],
        "rivals": [],
        **summary,
    }
    settings = {"max_batch_size": 8, "dynamic_batching": True, "instances": 2}
    return Record(
        "t[best]", "b", "m", {}, LOAD, {}, "PASS", search="s", summary=told, settings=settings,
        measurement=figures(150, 0.011, rss=2**30, cpu=1.5),
    )  # fmt: skip


CANDIDATES = [
    candidate("i1", 90, instances=1),
    candidate("i2", 152, instances=2),
    candidate("i3", 149, instances=3),
    candidate("i4", 120, status="skipped", reason="dominated by i2: at most 130/s"),
    candidate("i5", 160, status="infeasible", checks=({"metric": "p99", "outcome": "FAIL"},)),
    candidate("i6", status="unloadable", reason="no memory"),
]


def rows(records: list[Record]) -> Mapping[str, tuple[str, ...]]:
    """The rows of a table by the names of their candidates."""
    return {row[0]: row[1:] for row in search_table(records)[1]}


def test_gains_have_an_interval_where_they_were_measured_in_alternation() -> None:
    found = rows([*CANDIDATES, end("i2", rivals=["i3"], alike=["i1"])])
    # The winner comes first, then what may have won, then the others.
    assert list(found) == ["i2", "i3", "i1", "i5", "i4", "default"]
    assert found["i2"] == (
        "8", "yes", "2", "c4", "11.0 ms", "150.0/s", "1.00 GiB", "150.0 %", "+50.0% (+40.0% to +60.0%)", "winner"
    )  # fmt: skip
    assert found["i3"][-2:] == ("+49.0%", "tie")
    assert found["i1"][-2:] == ("~-10%", "as by default")
    assert found["i4"][-2:] == ("~+20%", "dominated by i2")
    assert found["i5"][-2:] == ("~+60%", "infeasible: p99")
    assert found["default"] == ("8", "no", "2", "c2", "20.0 ms", "100.0/s", "-", "-", "", "")


def test_an_objective_of_its_own_has_a_column_and_ranks() -> None:
    per = {"objective": "throughput/instances", "objectives": ["throughput/instances", "p99"]}
    candidates = [replace(record, sought={"objectives": per["objectives"]}) for record in CANDIDATES]
    records = [*candidates, end("i1", **per, front={"i1": [90.0, 0.01], "i2": [76.0, 0.01]})]
    header, _ = search_table(records)
    assert header[7] == "throughput/instances"
    found = rows(records)
    assert [name for name in found if name in ("i1", "i2", "i3")] == ["i1", "i2", "i3"]
    assert found["i2"][6] == "76.0/s per instance"
    assert (found["i1"][-1], found["i2"][-1]) == ("winner, front", "front")
    said = "\n".join(summary.search(records))
    assert "Pareto front of throughput/instances, p99, by the candidates' first figures:" in said
    assert "    i2: 76.0/s per instance, 10.0 ms" in said


def test_on_a_gpu_its_memory_and_utilisation_stand_in_the_table() -> None:
    records = [candidate("i1", 90, measurement=figures(90, 0.01, gpu_memory=2**31, gpu_utilization=0.5, rss=1, cpu=1))]
    header, found = search_table(records)
    assert header[7:9] == ("max GPU memory", "avg. GPU util.")
    assert found[0][7:9] == ("2.00 GiB", "50.0 %")
    assert found[0][-1] == ""
    (hot,) = search_table([candidate("i1", 90, measurement=figures(90, 0.01, gpu_memory=2**31, gpu_throttled=0.5))])[1]
    assert hot[-1] == "throttled"


def test_of_many_candidates_the_best_are_shown() -> None:
    many = [candidate(f"c{number}", 100 + number) for number in range(MOST_ROWS + 1)]
    lines = summary.search([*many, end("c3")])
    names = [line.split()[0] for line in lines[2:22]]
    assert names == ["c3", *(f"c{number}" for number in range(30, 11, -1))]
    assert "... and 11 more, which --triton-json has" in lines


def test_ties_are_said_to_be_ties() -> None:
    said = "\n".join(summary.search([*CANDIDATES, end("i2", tie=True, rivals=["i3"])]))
    assert "The interval holds 0, so this is a tie; it goes to the cheaper configuration." in said
    assert "A tie with i3, measured in alternation, too: it is the cheapest of them." in said


def test_the_nearest_miss_is_the_one_by_the_least_factor() -> None:
    def missed(point: str, *checks: tuple[str, str, float, float]) -> Record:
        names = ("metric", "direction", "value", "limit")
        told = tuple({**dict(zip(names, each, strict=True)), "outcome": "FAIL", "margin": 0} for each in checks)
        return candidate(point, 90, status="infeasible", reason=f"{point} misses", checks=told)

    text = no_winner(
        "m",
        objective("p99"),
        [
            missed("half the throughput", ("throughput", ">=", 50, 100)),
            missed("late by half", ("p99", "<=", 0.015, 0.01), ("throughput", ">=", 90, 100)),
            missed("very late", ("p99", "<=", 0.03, 0.01)),
            *(candidate(f"u{number}", status="unloadable", reason="no memory") for number in range(20)),
        ],
    )
    first, *others = text.splitlines()
    assert first == "m: no configuration can win: 3 infeasible, 20 unloadable of 23 candidates"
    assert "  Nearest miss: late by half, 50.0% beyond its bound (late by half misses)" in others
    assert "u11 and 8 more: unloadable: no memory" in text
    assert others[-1] == "  Relax the SLO, or widen the space; the objective was p99."


def test_what_helps_depends_on_what_became_of_the_candidates() -> None:
    broken = no_winner("m", objective("p99"), [candidate("i1", status="unloadable", reason="no memory")])
    assert broken.splitlines()[-1] == "  Mend what the reasons name, or widen the space; the objective was p99."
    check = {"metric": "p99", "direction": "<=", "value": 2.0, "limit": 0.01, "outcome": "FAIL", "margin": -199.0}
    late = candidate("i2", 90, status="infeasible", reason="misses", checks=(check,))
    assert "  Nearest miss: i2, 200 times its bound (misses)" in no_winner("m", objective("p99"), [late]).splitlines()
