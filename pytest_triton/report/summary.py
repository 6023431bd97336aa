"""What the terminal says at the end: one line per load, one table per search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_triton.report.load import head
from pytest_triton.report.message import dropped
from pytest_triton.report.outlook import interrupted, reused
from pytest_triton.report.search_table import end_of, hidden, search_table, value_of
from pytest_triton.report.table import table
from pytest_triton.results.record import Record
from pytest_triton.search.objective import objective


def servers(records: Iterable[Record]) -> list[str]:
    """Name the servers that were measured on, and what sent the load where that is not the wire engine."""
    pairs = dict.fromkeys((record.server, record.engine) for record in records if record.server)
    told = {engine: f", load from {engine}" for _, engine in pairs if engine not in ("", "wire")}
    return [f"on {server}{told.get(engine, '')}" for server, engine in pairs]


def loads(records: Iterable[Record]) -> list[str]:
    """Write one line per measured load of every model, in the words of Triton's own guide.

    Under one that is INCONCLUSIVE stands why, and what it would take: nothing else may say so, for it fails no test.
    """
    lines: list[str] = []
    model = None
    for record in records:
        if record.search or not record.measurement:
            continue
        if record.model != model:
            model = record.model
            lines.append(f"{model}:")
        lines.append(f"  {_load_line(record)}")
        lines += [f"    beside it {line}" for line in _beside(record)]
        if record.verdict == "INCONCLUSIVE":
            lines.append(f"    {record.reason}")
    return lines


def _load_line(record: Record) -> str:
    throughput, mean = _value(record.measurement, "throughput"), _value(record.measurement, "mean")
    line = f"{head(record.load)}, throughput: {_number(throughput, 1)} infer/sec, latency {_number(mean, 1e6, 0)} usec"
    p99 = _value(record.measurement, "p99")
    line += f" (p99 {_number(p99, 1e6, 0)} usec)"
    if "response_throughput" in record.measurement:
        responses, first = _value(record.measurement, "response_throughput"), _value(record.measurement, "ttfr_p50")
        line += f", {_number(responses, 1)} responses/sec, first response {_number(first, 1e6, 0)} usec"
        line += f" (p99 {_number(_value(record.measurement, 'ttfr_p99'), 1e6, 0)} usec)"
    return line + (f"  {record.verdict}" if record.slo or record.verdict != "PASS" else "")


def _beside(record: Record) -> Iterator[str]:
    """Write a line for each model that was under a load of its own meanwhile."""
    for model, load in record.beside.items():
        names = (f"{model}:{name}" for name in ("throughput", "mean", "p99"))
        throughput, mean, p99 = (_value(record.measurement, name) for name in names)
        yield (
            f"{model}: {head(load)}, throughput: {_number(throughput, 1)} infer/sec, "
            f"latency {_number(mean, 1e6, 0)} usec (p99 {_number(p99, 1e6, 0)} usec)"
        )


def _number(value: float | None, factor: float, decimals: int = 2) -> str:
    return "-" if value is None else f"{value * factor:.{decimals}f}"


def _value(measurement: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    values = measurement.get(name)
    return None if values is None else values["value"]


def early(records: Iterable[Record]) -> list[str]:
    """Say how much load was saved by measurements whose verdict stood before their limit: a line, or none."""
    judged = [record for record in records if "limit" in record.effort and record.verdict != "ERROR"]
    soon = [r for r in judged if r.verdict != "INCONCLUSIVE" and r.effort["seconds"] < r.effort["limit"]]
    if not soon:
        return []
    spent, limits = (sum(record.effort[name] for record in judged) for name in ("seconds", "limit"))
    what = "1 measurement was" if len(judged) == 1 else f"{len(soon)} of {len(judged)} measurements were"
    return [f"{what} decided early: {_seconds(spent)} of load instead of {_seconds(limits)}"]


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def by_search(records: Sequence[Record]) -> list[list[Record]]:
    """Put the records of every search together, in the order of their first."""
    keys = list(dict.fromkeys(record.search for record in records if record.search))
    return [[record for record in records if record.search == key] for key in keys]


def searches(records: Sequence[Record]) -> list[list[str]]:
    """Write a block for every search that measured something: its table, its winner, what was written."""
    return [search(part) for part in by_search(records)]


def search(records: Sequence[Record]) -> list[str]:
    """Write the block of one search. ``records`` are its candidates' and, if it came so far, its end's."""
    header, rows = search_table(records)
    lines = [*table(header, rows), *hidden(records)] if rows else []
    lines += left_out(records)
    end = end_of(records)
    if end is None:
        return [*lines, "", *undecided(records), *reused(records)]
    return [*lines, "", *decision(end), *reused(records), *_written(end.summary)]


def undecided(records: Sequence[Record]) -> list[str]:
    """Say that a search did not come to its end, or why nothing can win it."""
    last = next((record for record in records if not record.point), None)
    return interrupted(records) if last is None or last.verdict == "ERROR" else [f"{last.reason}."]


def left_out(records: Sequence[Record]) -> list[str]:
    """Say why candidates of a search have no row in its table."""
    return dropped([record for record in records if record.point and not record.measurement])


def decision(end: Record) -> list[str]:
    """Say who won, by how much over the default, and whether it keeps the SLO. Each line stands alone."""
    summary = end.summary
    by = objective(summary["objective"])
    value = by.show(value_of(end, by))
    spent = f"In {summary['measured']} of {summary['candidates']} candidates measured in {summary['seconds']:.0f} s, "
    lines = []
    if summary["winner"] is None:
        lines.append(f"{spent}no configuration of {end.model} wins: none of the leaders keeps the SLO at length.")
    elif summary["winner"] == "default":
        why = "no candidate was shown to be better" if summary["default"] else "it leads itself"
        lines.append(f"{spent}the default configuration of {end.model} stays: {why} ({by.name} {value}).")
    else:
        default = replace(end, measurement=summary["default"], settings=summary["default_settings"])
        lines.append(
            f"{spent}{summary['winner']} gives the best {by.name} of {end.model}: {value}. "
            f"Measured in alternation with the default configuration ({by.show(value_of(default, by))}), that is a "
            f"gain of {summary['gain_shown']}, 95 % interval in brackets."
        )
        if summary["tie"]:
            lines.append("The interval holds 0, so this is a tie; it goes to the cheaper configuration.")
    if summary["rivals"]:
        rivals = ", ".join(summary["rivals"])
        lines.append(f"A tie with {rivals}, measured in alternation, too: it is the cheapest of them.")
    lines += _front(summary)
    lines += [f"rejected: {reason}" for reason in summary["rejected"]]
    if end.slo:
        lines.append(f"SLO: {end.verdict}: {end.reason}")
    return lines


def _front(summary: Mapping[str, Any]) -> list[str]:
    """Name the candidates that nothing beats in one objective without losing in another, with all their values."""
    if not summary.get("front"):
        return []
    by = [objective(name) for name in summary["objectives"]]
    lines = [f"Pareto front of {', '.join(each.name for each in by)}, by the candidates' first figures:"]
    for point, values in summary["front"].items():
        lines.append(f"    {point}: {', '.join(each.show(value) for each, value in zip(by, values, strict=True))}")
    return lines


def _written(summary: Mapping[str, Any]) -> list[str]:
    """Say where the winner's config.pbtxt is, and what is new in it."""
    lines = []
    if "path" in summary:
        lines.append(f"config.pbtxt: {summary['path']}")
        lines += [f"    {line}" for line in summary["diff"].splitlines()]
    if "installed" in summary:
        lines.append(f"installed: {summary['installed']}" + _kept(summary))
    if "selected_by" in summary:
        lines.append(f"{summary['selected_by']} selects it.")
    for model, other in summary.get("others", {}).items():
        lines += [f"{model}: {line}" if line[:1].strip() else line for line in _written(other)]
    if summary.get("started_with"):
        lines.append(f"It needs the server started with {summary['started_with']}.")
    return lines


def _kept(summary: Mapping[str, Any]) -> str:
    return f" (the original is {summary['original']})" if "original" in summary else ""
