"""Records on test reports: how they travel, and the words and letters pytest shows for them."""

from __future__ import annotations

import pytest

from pytest_triton.plugin.keys import RECORDS
from pytest_triton.results.record import Record

# Letter and colour of what became of a test that did not fail.
_WORDS = {
    "inconclusive": ("I", "yellow"),
    "infeasible": ("i", "yellow"),
    "unloadable": ("u", "yellow"),
    "disqualified": ("d", "yellow"),
    "skipped": ("s", "yellow"),
}


def mark(item: pytest.Item, record: Record) -> None:
    """Keep a record with its item, and its telling figures as the item's JUnit properties."""
    item.stash.setdefault(RECORDS, []).append(record)
    names = ("throughput", "p50", "p99", "error_rate")
    figures = {f"triton_{name}": record.measurement[name]["value"] for name in names if name in record.measurement}
    others = [entry for entry in item.user_properties if not entry[0].startswith("triton_")]
    item.user_properties[:] = [*others, ("triton_verdict", record.verdict), *figures.items()]


def word(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Return category, letter and word of a report that carries a record, None to leave it to pytest."""
    records = getattr(report, "triton", None)
    if not records:
        return None
    last = records[-1]
    if report.failed:
        return ("error", "E", ("ERROR", {"red": True})) if last["verdict"] == "ERROR" else None
    name = "inconclusive" if last["verdict"] == "INCONCLUSIVE" and not last["status"] else last["status"]
    if name not in _WORDS:
        return None
    letter, colour = _WORDS[name]
    return name, letter, (name.upper(), {colour: True})
