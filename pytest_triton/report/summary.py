"""What the terminal says at the end: one line per load, one table per search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_triton.metrics import METRICS, Metric
from pytest_triton.quantities import Unit, show
from pytest_triton.report.message import dropped
from pytest_triton.report.table import table
from pytest_triton.results.record import Record


def loads(records: Iterable[Record]) -> list[str]:
    """Write one line per measured load of every model, in the words of Triton's own guide."""
    lines: list[str] = []
    model = None
    for record in records:
        if record.search or not record.measurement:
            continue
        if record.model != model:
            model = record.model
            lines.append(f"{model}:")
        lines.append(f"  {_load_line(record)}")
    return lines


def _load_line(record: Record) -> str:
    throughput, mean = _value(record.measurement, "throughput"), _value(record.measurement, "mean")
    batch = record.load["batch_size"]
    line = (
        f"Concurrency: {record.load['concurrency']}"
        + (f", batch size: {batch}" if batch != 1 else "")
        + f", throughput: {_number(throughput, 1)} infer/sec, latency {_number(mean, 1e6, 0)} usec"
    )
    p99 = _value(record.measurement, "p99")
    line += f" (p99 {_number(p99, 1e6, 0)} usec)"
    return line + (f"  {record.verdict}" if record.slo or record.verdict != "PASS" else "")


def _number(value: float | None, factor: float, decimals: int = 2) -> str:
    return "-" if value is None else f"{value * factor:.{decimals}f}"


def _value(measurement: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    values = measurement.get(name)
    return None if values is None else values["value"]


def searches(records: Sequence[Record]) -> list[list[str]]:
    """Write a block for every search that measured something: its table, its winner, what was written."""
    keys = list(dict.fromkeys(record.search for record in records if record.search))
    return [search([record for record in records if record.search == key]) for key in keys]


def search(records: Sequence[Record]) -> list[str]:
    """Write the block of one search. ``records`` are its candidates' and, if it came so far, its end's."""
    candidates = [record for record in records if record.point]
    end = next((record for record in records if record.summary), None)
    model = records[0].model
    gpu = any("gpu_memory" in record.measurement for record in records)
    resources = ("gpu_memory", "gpu_utilization") if gpu else ("rss", "cpu")
    header = (
        "configuration", "max batch", "dyn. batching", "instances", "load", "p99", "throughput",
        "GPU memory" if gpu else "RSS", "GPU util." if gpu else "CPU", "",
    )  # fmt: skip
    by = METRICS[end.summary["objective"]] if end is not None else METRICS["throughput"]
    ordered = sorted(candidates, key=lambda record: _order(record, by))
    rows = [_row(record, record.point, resources, _note(record, end)) for record in ordered if record.measurement]
    lines = table(header, rows) if rows else []
    lines += dropped([record for record in ordered if not record.measurement])
    if end is None:
        return [*lines, f"The search for {model} was not decided: {len(candidates)} candidates were tried."]
    return [*lines, "", *decision(end)]


def _order(record: Record, by: Metric) -> tuple[bool, float]:
    value = _value(record.measurement, by.name)
    if value is None:
        return True, 0.0
    return record.status != "measured", -value if by.better.value == ">=" else value


def _note(record: Record, end: Record | None) -> str:
    if record.status != "measured":
        return record.status
    return "winner" if end is not None and record.point == end.summary["winner"] else ""


def _row(record: Record, name: str, resources: Sequence[str], note: str) -> tuple[str, ...]:
    measurement = record.measurement
    return (
        name,
        str(record.max_batch_size),
        "yes" if record.dynamic_batching else "no",
        str(record.instances),
        f"c{record.load['concurrency']}" + (f" b{b}" if (b := record.load["batch_size"]) != 1 else ""),
        show(_value(measurement, "p99"), Unit.SECONDS),
        show(_value(measurement, "throughput"), Unit.PER_SECOND),
        *(show(_value(measurement, metric), METRICS[metric].unit) for metric in resources),
        note,
    )


def decision(end: Record) -> list[str]:
    """Say who won, by how much over the default, and where its config.pbtxt is."""
    summary = end.summary
    by = METRICS[summary["objective"]]
    value = show(_value(end.measurement, by.name), by.unit)
    default = show(_value(summary["default"], by.name), by.unit)
    spent = f"In {summary['measured']} of {summary['candidates']} candidates measured in {summary['seconds']:.0f} s, "
    lines = []
    if summary["winner"] == "default":
        why = "no candidate was shown to be better" if summary["default"] else "it leads itself"
        lines.append(f"{spent}the default configuration of {end.model} stays: {why} ({by.name} {value}).")
    else:
        lines.append(
            f"{spent}{summary['winner']} gives the best {by.name} of {end.model}: {value}. "
            f"Measured in alternation with the default configuration ({default}), that is {gain(summary['gain'])}."
        )
        if summary["tie"]:
            lines.append("The interval holds 0, so this is a tie; it goes to the cheaper configuration.")
    lines += [f"rejected: {reason}" for reason in summary["rejected"]]
    if end.slo:
        lines.append(f"SLO: {end.verdict}: {end.reason}")
    if "path" in summary:
        lines.append(f"config.pbtxt: {summary['path']}")
        lines += [f"    {line}" for line in summary["diff"].splitlines()]
    if "installed" in summary:
        lines.append(f"installed: {summary['installed']}" + _kept(summary))
    return lines


def _kept(summary: Mapping[str, Any]) -> str:
    return f" (the original is {summary['original']})" if "original" in summary else ""


def gain(estimate: Mapping[str, float | None]) -> str:
    """Write a gain with its interval: ``a gain of 31.2 % (95 % interval 28.9 % to 33.6 %)``."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    assert value is not None
    word = "a gain" if value >= 0 else "a loss"
    interval = f" (95 % interval {low:+.1%} to {high:+.1%})" if low is not None and high is not None else ""
    return f"{word} of {abs(value):.1%}{interval}"
