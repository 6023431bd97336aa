"""Records on test reports: how they travel, and the words and letters pytest shows for them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pytest_triton.plugin.keys import RECORDS
from pytest_triton.report.load import describe
from pytest_triton.results.record import Record

# Letter and colour of what became of a test that did not fail.
_WORDS = {
    "inconclusive": ("I", "yellow"),
    "infeasible": ("i", "yellow"),
    "unloadable": ("u", "yellow"),
    "crashed": ("c", "yellow"),
    "disqualified": ("d", "yellow"),
    "skipped": ("s", "yellow"),
    "reused": ("r", "green"),
}
_LONGEST = 500
"""Characters of a reason that a property holds; Triton's own may be pages."""


def carry(item: pytest.Item, record: Record) -> None:
    """Let a record travel on the report of ``item``, which it is not about."""
    item.stash.setdefault(RECORDS, []).append(record)


def mark(item: pytest.Item, record: Record) -> None:
    """Keep a record with its item, and what JUnit has room for as the item's properties.

    The properties of a test's second record end in ``#2``.
    """
    records = item.stash.setdefault(RECORDS, [])
    records.append(record)
    end = f"#{len(records)}" if len(records) > 1 else ""
    item.user_properties += [(f"triton_{name}{end}", value) for name, value in _properties(record)]


def _properties(record: Record) -> Iterator[tuple[str, str | float]]:
    """Yield what was measured as names and scalars; metrics in seconds, bytes, per second and fractions."""
    yield "verdict", record.verdict
    told = {
        "reason": record.reason.partition("\n")[0][:_LONGEST],
        "status": record.status,
        "reused": record.reused,
        "key": record.key,
        "model": record.model,
        "load": describe(record.load),
        "configuration": json.dumps(record.configuration, sort_keys=True) if record.configuration else "",
        "slo": ", ".join(f"{name} {limit}" for name, limit in record.slo.items()),
        "server": record.server,
        "engine": record.engine,
    }
    yield from ((name, text) for name, text in told.items() if text)
    for name, values in record.measurement.items():
        # A value that is not there is infinite; an end that is not there is not known.
        yield name, values["value"] if values["value"] is not None else "inf"
        yield from ((f"{name}_{end}", values[end]) for end in ("low", "high") if values[end] is not None)


def word(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Return category, letter and word of a report that carries a record, None to leave it to pytest."""
    records = getattr(report, "triton", None)
    if not records:
        return None
    last = records[-1]
    if report.failed:
        return ("error", "E", ("ERROR", {"red": True})) if last["verdict"] == "ERROR" else None
    name = "inconclusive" if last["verdict"] == "INCONCLUSIVE" and not last["status"] else last["status"]
    name = "reused" if last["reused"] else name
    if name not in _WORDS:
        return None
    letter, colour = _WORDS[name]
    return name, letter, (name.upper(), {colour: True})
