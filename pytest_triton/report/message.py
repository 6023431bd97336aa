"""The message of a missed or undecided SLO. Its first line stands alone; the rest is the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_triton.bench import Evaluation
from pytest_triton.breakdown import advice, called, components, shares
from pytest_triton.case import Case
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import METRICS, Better
from pytest_triton.quantities import Unit, show, show_interval
from pytest_triton.report.load import describe
from pytest_triton.report.table import table
from pytest_triton.results.record import Record
from pytest_triton.search.objective import Objective
from pytest_triton.search.selection import Status
from pytest_triton.tail import estimate_tail
from pytest_triton.verdict import Check, Outcome

_WORDS = {
    Outcome.PASS: "met",
    Outcome.FAIL: "MISSED",
    Outcome.INCONCLUSIVE: "UNDECIDED",
    Outcome.ERROR: "UNKNOWN",
}
_FAR = 10.0
"""The part of a bound from which on a miss is told as a multiple of it."""
_MOST_NAMES = 12
"""Candidates that one line names."""


def explain(evaluation: Evaluation, *, log: Path | None = None, configuration: Path | None = None) -> str:
    """Say which bounds are missed or undecided, where the time went, what to do, and how much was measured."""
    case, measurement, verdict = evaluation.case, evaluation.measurement, evaluation.verdict
    lines = [f"{case.candidate.model}, {describe(case.load.as_dict())}: {verdict.reason}", ""]
    lines += table(
        ("bound", "measured", "interval", "limit", "written in", "margin", ""),
        [_row(check) for check in verdict.checks],
        indent="  ",
    )
    total = sum(seconds for _, seconds in components(measurement))
    if total:
        parts = " | ".join(f"{label} {share:.0%}" for label, share in shares(measurement).items())
        lines += ["", f"  Where the time went (mean {show(total, Unit.SECONDS)}): {parts}"]
        lines += _tail(measurement)
    lines += [f"    {line}" for line in _composing(measurement)]
    lines += [f"  Beside it {line}" for line in _beside(case, measurement)]
    configured = evaluation.deployment.configuration
    hint = advice(
        measurement,
        verdict,
        case.load,
        batches=configured.max_batch_size > 0,
        warms=len(configured.model_warmup) > 0,
    )
    if hint:
        lines.append(f"  {hint}")
    lines.append(
        f"  Measured: {measurement.requests:,} requests in {show(measurement.seconds, Unit.SECONDS)} "
        f"after {show(measurement.warmup_seconds, Unit.SECONDS)} of warm-up, judged {_times(measurement.looks)}."
    )
    if configuration is not None:
        lines.append(f"  config.pbtxt: {configuration}")
    if log is not None:
        lines.append(f"  server.log: {log}")
    return "\n".join(lines)


def _tail(measurement: Measurement) -> list[str]:
    """Write where the time of the slowest requests went, as far as it can be told."""
    tail = estimate_tail(measurement)
    if tail is None:
        return []
    parts = " | ".join(f"{label} {share:.0%}" for label, share in tail.shares.items())
    return [
        f"  Of the slowest {tail.fraction:.0%} (mean {show(tail.mean, Unit.SECONDS)}): {parts} "
        f"(+-{tail.error:.0%}, from {tail.stretches} stretches)"
    ]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _composing(measurement: Measurement) -> list[str]:
    """Write a line for every model that the measured one calls: what a request to it took, and its mean batch."""
    lines = []
    for name, part in called(measurement).items():
        queue, infer = (show(each, Unit.SECONDS) for each in (part.server_queue, part.server_compute_infer))
        batch = f", {part.batch:.1f} inferences each" if part.batch is not None else ""
        executions = f"{part.requests:,} requests in {part.executions:,} executions{batch}"
        lines.append(f"{name}: queue {queue}, infer {infer}; {executions}")
    return lines


def _beside(case: Case, measurement: Measurement) -> Iterator[str]:
    """Write a line for every model that was under a load of its own meanwhile."""
    for name, part in measurement.beside.items():
        told = [
            f"{metric} {show(part.metrics[metric].value, METRICS[metric].unit)}"
            for metric in ("throughput", "mean", "p99")
            if metric in part.metrics
        ]
        yield f"{name}, {describe(case.beside[name].load.as_dict())}: {', '.join(told) or 'nothing completed'}"


def _row(check: Check) -> tuple[str, ...]:
    unit, estimate = check.bound.metric.unit, check.estimate
    return (
        check.bound.metric.name,
        show(estimate.value if estimate is not None else None, unit),
        show_interval(estimate.low, estimate.high, unit) if estimate is not None else "-",
        f"{check.bound.direction.value} {show(check.bound.limit, unit)}",
        check.bound.source or "-",
        f"{check.margin:+.1%}" if check.margin is not None else "-",
        _WORDS[check.outcome],
    )


def no_winner(model: str, by: Objective, records: Sequence[Record]) -> str:
    """Say why no candidate of a search can win: each one's reason, and the nearest miss."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.status] = counts.get(record.status, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"{model}: no configuration can win: {told} of {len(records)} candidates", ""]
    lines += [f"  {line}" for line in dropped(records)]
    misses = [(miss, record) for record in records if (miss := _worst_miss(record)) is not None]
    if misses:
        miss, record = min(misses, key=lambda pair: pair[0])
        beyond = f"{miss:.1%} beyond its bound" if miss < _FAR else f"{miss + 1:,.0f} times its bound"
        lines += ["", f"  Nearest miss: {record.point}, {beyond} ({record.reason})"]
    what = "Relax the SLO" if Status.INFEASIBLE.value in counts else "Mend what the reasons name"
    lines.append(f"  {what}, or widen the space; the objective was {by.name}.")
    return "\n".join(lines)


def dropped(records: Sequence[Record]) -> list[str]:
    """Say why candidates fell out, one line for each reason."""
    points: dict[tuple[str, str], list[str]] = {}
    for record in records:
        points.setdefault((record.status, record.reason), []).append(record.point)
    return [f"{_name(names)}: {status}: {reason}" for (status, reason), names in points.items()]


def _name(points: Sequence[str]) -> str:
    more = len(points) - _MOST_NAMES
    return ", ".join(points) if more <= 0 else f"{', '.join(points[:_MOST_NAMES])} and {more} more"


def _worst_miss(record: Record) -> float | None:
    """Return by which part of its bound a record misses the one that it misses most; None where none is missed.

    A latency of twice its limit and half the throughput that there must be are the same, 1.
    """
    misses = []
    for check in record.checks:
        value, limit = check["value"], check["limit"]
        # A probe may be too short to show what its value says.
        if value and limit:
            misses.append((value / limit if check["direction"] == Better.LOWER.value else limit / value) - 1)
    return max((miss for miss in misses if miss > 0), default=None)
