"""How far a search is: which candidate leads, how many are left, and how long they will take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Estimate
from pytest_triton.results.record import Record
from pytest_triton.search.objective import Objective, objective

_MINUTE, _HOUR = 60, 3600


def objective_of(records: Sequence[Record]) -> Objective | None:
    """Return the objective that leads in the search of ``records``; None where none of them says it."""
    names = next((record.sought["objectives"] for record in records if record.sought), ())
    return objective(names[0]) if names else None


def leader(records: Sequence[Record]) -> Record | None:
    """Return the candidate that is the best so far, of those that may win; None where there is none yet."""
    by = objective_of(records)
    if by is None:
        return None
    known = [
        (value.value, record)
        for record in records
        if record.point and record.status == "measured"
        if (value := _value(record, by)) is not None
    ]
    return max(known, key=lambda pair: by.quotient(pair[0], 1.0))[1] if known else None


def lead(records: Sequence[Record]) -> str:
    """Write which candidate is the best so far, as in ``i2-t1 47.3/s``; empty where there is none yet."""
    best, by = leader(records), objective_of(records)
    if best is None or by is None:
        return ""
    value = _value(best, by)
    assert value is not None
    return f"{best.point} {by.show(value.value)}"


def _value(record: Record, by: Objective) -> Estimate | None:
    metrics = Measurement.from_dict(record.measurement).metrics
    return by.value(metrics, record.settings.get("instances", 0))


def describe(records: Sequence[Record], *, left: int, seconds: float | None = None) -> str:
    """Write how far a search is: ``leads: i2-t1 47.3/s, 7 of 18 left, about 2 min``.

    ``records`` are those of its candidates so far, ``left`` is how many are still to come in this run, the one whose
    turn it is included; ``seconds`` of the budget are left for them, or there is none. The time left is that of so
    many more like those that were measured in this run.
    """
    best = lead(records)
    parts = [f"leads: {best}"] if best else []
    parts.append(f"{left} of {len(records) + left} left")
    spent = [record.seconds for record in records if not record.reused and record.status != "skipped"]
    if spent:
        estimate = sum(spent) / len(spent) * left
        parts.append(f"about {show_time(estimate if seconds is None else min(estimate, max(seconds, 0.0)))}")
    return ", ".join(parts)


def show_time(seconds: float) -> str:
    """Write a time that is only roughly known: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 1.5 * _MINUTE:
        return f"{max(seconds, 1.0):.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    minutes = round(seconds / _MINUTE)
    return f"{minutes // 60} h {minutes % 60} min"


def interrupted(records: Sequence[Record]) -> list[str]:
    """Say of a search that did not come to its end who leads, and how to go on. ``records`` are its candidates'."""
    best = lead(records)
    total = next((record.sought["candidates"] for record in records if record.sought), len(records))
    kept = sum(1 for record in records if tells(record))
    first = f"The search for {records[0].model} was not decided"
    lines = [f"{first}: {best} leads by its first figures." if best else f"{first}: nothing leads yet."]
    if kept:
        lines.append(f"Run it again to go on: {kept} of {total} candidates are kept.")
    return lines


def tells(record: Record) -> bool:
    """Tell whether a candidate's record says what became of it: it is no error, nor was it skipped unmeasured."""
    if not record.point or record.status in ("", "error"):
        return False
    return record.status != "skipped" or bool(record.measurement)


def reused(records: Sequence[Record]) -> list[str]:
    """Say how many candidates of a search an earlier run has measured: a line, or none."""
    old = [record for record in records if record.reused]
    if not old:
        return []
    total = max(old[0].sought.get("candidates", 0), len(old))
    return [
        f"{len(old)} of {total} candidates reused from the run of {show_moment(min(r.began for r in old))} "
        "(--triton-fresh measures anew)."
    ]


def show_moment(began: float) -> str:
    """Write when a run was, in local time; with the day where that is not today."""
    then = time.localtime(began)
    return time.strftime("%H:%M" if then[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M", then)
