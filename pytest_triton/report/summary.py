"""What the terminal says at the end: one line per load, one table per search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.metrics import METRICS, Better, Metric
from pytest_triton.quantities import Unit, show
from pytest_triton.report.load import cell, head
from pytest_triton.report.message import dropped
from pytest_triton.report.outlook import interrupted, reused
from pytest_triton.report.table import table
from pytest_triton.results.record import Record


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
    lines = table(header, rows) if rows else []
    lines += left_out(records)
    end = end_of(records)
    if end is None:
        return [*lines, "", *undecided(records), *reused(records)]
    return [*lines, "", *decision(end), *reused(records), *_written(end.summary)]


def end_of(records: Sequence[Record]) -> Record | None:
    """Return the record that decided a search, None where it did not come so far."""
    return next((record for record in records if record.summary), None)


def undecided(records: Sequence[Record]) -> list[str]:
    """Say that a search did not come to its end, or why nothing can win it."""
    last = next((record for record in records if not record.point), None)
    return interrupted(records) if last is None or last.verdict == "ERROR" else [f"{last.reason}."]


def left_out(records: Sequence[Record]) -> list[str]:
    """Say why candidates of a search have no row in its table."""
    return dropped([record for record in records if record.point and not record.measurement])


def search_table(records: Sequence[Record]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of a search's table, the best first, the default configuration last."""
    candidates = [record for record in records if record.point]
    end = end_of(records)
    gpu = any("gpu_memory" in record.measurement for record in records)
    by = METRICS[end.summary["objective"]] if end is not None else METRICS["throughput"]
    view = _View(by, ("gpu_memory", "gpu_utilization") if gpu else ("rss", "cpu"), end)
    ordered = sorted(candidates, key=lambda record: _order(record, by))
    rows = [view.row(record) for record in ordered if record.measurement]
    if end is not None and end.summary["default"]:
        rows.append(view.default_row(end))
    return (*_HEADER, *(("GPU memory", "GPU util.") if gpu else ("RSS", "CPU")), "gain", ""), rows


_HEADER = ("configuration", "max batch", "dyn. batching", "instances", "load", "p99", "throughput")


def _order(record: Record, by: Metric) -> tuple[bool, float]:
    value = _value(record.measurement, by.name)
    if value is None:
        return True, 0.0
    return record.status != "measured", -value if by.better is Better.HIGHER else value


@dataclass(frozen=True, slots=True)
class _View:
    """How the rows of one search's table are made."""

    by: Metric
    resources: tuple[str, str]
    end: Record | None

    def row(self, record: Record) -> tuple[str, ...]:
        """Write a candidate's row; the winner's in the figures of its confirmation."""
        if self.end is not None and record.point == self.end.summary["winner"]:
            return self._cells(
                record.point,
                record.settings,
                record.load,
                self.end.measurement,
                self.end.summary["gain_shown"],
                "winner",
            )
        note = record.status if record.status != "measured" else ""
        return self._cells(
            record.point, record.settings, record.load, record.measurement, self._rough_gain(record), note
        )

    def default_row(self, end: Record) -> tuple[str, ...]:
        """Write the row of the default configuration, as it was measured against the leader."""
        note = "stays" if end.summary["winner"] == "default" else ""
        return self._cells("default", end.summary["default_settings"], end.load, end.summary["default"], "", note)

    def _rough_gain(self, record: Record) -> str:
        """Compare a candidate's first figures to the default's: not in alternation, so without an interval."""
        ours = _value(record.measurement, self.by.name)
        theirs = _value(self.end.summary["default"], self.by.name) if self.end is not None else None
        if not ours or not theirs:
            return "-"
        ratio = ours / theirs if self.by.better is Better.HIGHER else 2 - ours / theirs
        return f"~{ratio - 1:+.0%}"

    def _cells(
        self,
        name: str,
        settings: Mapping[str, Any],
        load: Mapping[str, Any],
        measurement: Mapping[str, Mapping[str, Any]],
        gain: str,
        note: str,
    ) -> tuple[str, ...]:
        return (
            name,
            str(settings["max_batch_size"]),
            "yes" if settings["dynamic_batching"] else "no",
            str(settings["instances"]),
            cell(load),
            show(_value(measurement, "p99"), Unit.SECONDS),
            show(_value(measurement, "throughput"), Unit.PER_SECOND),
            *(show(_value(measurement, metric), METRICS[metric].unit) for metric in self.resources),
            gain,
            note,
        )


def decision(end: Record) -> list[str]:
    """Say who won, by how much over the default, and whether it keeps the SLO. Each line stands alone."""
    summary = end.summary
    by = METRICS[summary["objective"]]
    value = show(_value(end.measurement, by.name), by.unit)
    default = show(_value(summary["default"], by.name), by.unit)
    spent = f"In {summary['measured']} of {summary['candidates']} candidates measured in {summary['seconds']:.0f} s, "
    lines = []
    if summary["winner"] is None:
        lines.append(f"{spent}no configuration of {end.model} wins: none of the leaders keeps the SLO at length.")
    elif summary["winner"] == "default":
        why = "no candidate was shown to be better" if summary["default"] else "it leads itself"
        lines.append(f"{spent}the default configuration of {end.model} stays: {why} ({by.name} {value}).")
    else:
        lines.append(
            f"{spent}{summary['winner']} gives the best {by.name} of {end.model}: {value}. "
            f"Measured in alternation with the default configuration ({default}), that is a gain of "
            f"{summary['gain_shown']}, 95 % interval in brackets."
        )
        if summary["tie"]:
            lines.append("The interval holds 0, so this is a tie; it goes to the cheaper configuration.")
        if summary["rivals"]:
            rivals = ", ".join(summary["rivals"])
            lines.append(f"Not told apart from {rivals} by their first figures; it is the cheapest of them.")
    lines += [f"rejected: {reason}" for reason in summary["rejected"]]
    if end.slo:
        lines.append(f"SLO: {end.verdict}: {end.reason}")
    return lines


def _written(summary: Mapping[str, Any]) -> list[str]:
    """Say where the winner's config.pbtxt is, and what is new in it."""
    lines = []
    if "path" in summary:
        lines.append(f"config.pbtxt: {summary['path']}")
        lines += [f"    {line}" for line in summary["diff"].splitlines()]
    if "installed" in summary:
        lines.append(f"installed: {summary['installed']}" + _kept(summary))
    return lines


def _kept(summary: Mapping[str, Any]) -> str:
    return f" (the original is {summary['original']})" if "original" in summary else ""
