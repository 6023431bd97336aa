"""How a model did over its last records: a table and a spark line for each of its tests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.metrics import metric
from pytest_triton.quantities import Unit, parse, show
from pytest_triton.report.load import cell
from pytest_triton.report.table import table
from pytest_triton.results.fingerprint import changes
from pytest_triton.results.record import Record

_COLOURS = {"PASS": 32, "FAIL": 31, "ERROR": 31, "INCONCLUSIVE": 33}
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = "_.-=*%@#"
_HALF_A_YEAR = 182 * 86400.0
_MARK = "~ "


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal takes: its ``width`` in characters, colours, and more characters than ASCII's."""

    width: int = 80
    colour: bool = False
    blocks: bool = True


def differences(before: Record, after: Record) -> list[str]:
    """Say what else than the source changed between two records of a test, so that they compare badly."""
    told = changes(before.fingerprint, after.fingerprint)
    if before.load != after.load:
        told.append(f"load {cell(before.load)} -> {cell(after.load)}")
    for name, shown in (("applied", "configuration"), ("model_files", "model files")):
        digests = getattr(before, name), getattr(after, name)
        if all(digests) and digests[0] != digests[1]:
            told.append(f"{shown} changed")
    if before.load == after.load and before.configuration == after.configuration and before.key != after.key:
        told.append("inputs changed")
    return told


def write(records: Sequence[Record], metrics: Sequence[str], style: Style, now: float) -> list[str]:
    """Write the history of every test, one after the other. ``records`` as ``Store.history`` returns them."""
    lines: list[str] = []
    for test in dict.fromkeys(record.id for record in records):
        lines += ["", *_of_test([record for record in records if record.id == test], metrics, style, now)]
    return lines[1:]


def _of_test(records: Sequence[Record], metrics: Sequence[str], style: Style, now: float) -> Iterator[str]:
    yield records[0].id
    names = [name for name in metrics if any(name in record.measurement for record in records)]
    for name in names:
        yield from _spark_line(name, records, max(map(len, names)), style)
    header = ("when", "commit", "verdict", *names)
    for intervals in (True, False):
        rows = [
            (
                _when(record.began, now),
                _commit(record.revision),
                record.verdict,
                *(_estimate(record.measurement.get(name), metric(name).unit, intervals) for name in names),
            )
            for record in records
        ]
        laid = table(header, rows, left=3, indent="  ")
        if max(map(len, laid)) <= style.width:
            break
    yield from laid[:2]
    before: Record | None = None
    for record, line in zip(records, laid[2:], strict=True):
        told = differences(before, record) if before is not None else []
        if told:
            yield f"  {_MARK}{'; '.join(told)}"
        yield _coloured(line, record.verdict) if style.colour else line
        before = record


def _spark_line(name: str, records: Sequence[Record], widest: int, style: Style) -> Iterator[str]:
    values = [_value(record.measurement.get(name)) for record in records]
    known = [value for value in values if value is not None]
    if not known:
        return
    low, high = min(known), max(known)
    unit = metric(name).unit
    between = f"{show(low, unit)} to {show(high, unit)}" if low != high else show(low, unit)
    bars = spark(values, _BLOCKS if style.blocks else _PLAIN_BLOCKS)
    yield f"  {name.ljust(widest)}  {bars[-max(1, style.width - widest - len(between) - 6) :]}  {between}"


def spark(values: Sequence[float | None], blocks: str = _BLOCKS) -> str:
    """Draw values, the lowest as the lowest block; a gap where there is none."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    # A line that wavers by less than 5 % looks as level as it is.
    low = min(low, high * 0.95)
    steps = len(blocks) - 1
    return "".join(
        " " if value is None else blocks[round((value - low) / (high - low) * steps) if high > low else 0]
        for value in values
    )


def _when(began: float, now: float) -> str:
    """Write a time of the last months to the minute, and an older one as its day, as ``ls -l`` does."""
    recent = now - _HALF_A_YEAR < began <= now + 60
    return time.strftime("%b %d %H:%M" if recent else "%Y-%m-%d", time.localtime(began))


def _commit(revision: Mapping[str, Any]) -> str:
    commit = str(revision.get("commit", ""))[:7]
    return f"{commit}*" if revision.get("dirty") else commit or "-"


def _value(values: Mapping[str, Any] | None) -> float | None:
    return None if values is None else values["value"]


def _estimate(values: Mapping[str, Any] | None, unit: Unit, with_interval: bool) -> str:
    if values is None:
        return "-"
    if values["value"] is None:
        return "inf"
    value, ends = show(values["value"], unit), (values.get("low"), values.get("high"))
    if not with_interval or ends == (None, None):
        return value
    # The ends are in the value's unit, which is said once, and in three digits, so that two columns fit a terminal.
    factor = parse(re.sub(r"^-?[\d.,]+", "1", value), unit)
    return f"{value} ({'-'.join('?' if end is None else _digits(end / factor) for end in ends)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _coloured(line: str, verdict: str) -> str:
    code = _COLOURS.get(verdict)
    return line if code is None else line.replace(verdict, f"\x1b[{code}m{verdict}\x1b[0m", 1)


def document(records: Sequence[Record], model: str, store: str) -> dict[str, Any]:
    """Return the history as JSON: every record as it was stored, with what changed since the one before."""
    tests: dict[str, list[tuple[Record, dict[str, Any]]]] = {}
    for record in records:
        values = record.as_dict()
        del values["latencies"]
        rows = tests.setdefault(record.id, [])
        before = rows[-1][0] if rows else None
        rows.append((record, {**values, "changed": differences(before, record) if before is not None else []}))
    return {
        "schema": 1,
        "model": model,
        "store": store,
        "tests": [{"id": test, "records": [values for _, values in rows]} for test, rows in tests.items()],
    }
