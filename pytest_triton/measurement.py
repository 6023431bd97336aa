"""What a trace, the server's own statistics and its resources say: a measurement.

NumPy and the statistics are imported where they compute, because collection imports this module's words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_triton.metrics import METRICS, Estimate
from pytest_triton.observation import OK, ResourceUsage, ServerStatistics, Trace
from pytest_triton.quantities import Unit, show

if TYPE_CHECKING:
    from pytest_triton.statistics import Floats

__all__ = ["Estimate", "Measurement", "latencies", "measure_trace", "merge", "trim"]

_CLIENT_LIMIT = 0.90
"""Share of a core above which the load generator may itself be the bottleneck."""
_LITTLE_LIMIT = 0.05
"""By how much the requests in flight may differ from the concurrency."""
_LITTLE_REQUESTS = 100
_CLIENT_SECONDS = 0.1
"""A shorter window says nothing about the load generator: one burst fills it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of a case. ``metrics`` in seconds, bytes, per second and fractions.

    ``reasons`` counts why requests failed. ``problems`` say why the measurement is not valid; empty, it is.
    ``unsteady`` says that latency did not settle during the warm-up. ``looks`` is how often it was judged so far.
    ``trace`` is None where single requests were not recorded or not kept.
    """

    metrics: Mapping[str, Estimate]
    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unsteady: bool = False
    looks: int = 1
    trace: Trace | None = field(default=None, compare=False, repr=False)

    def add_problem(self, problem: str) -> Measurement:
        """Return the same measurement, not valid for one more reason."""
        return replace(self, problems=(*self.problems, problem))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return the metrics as JSON has them: ``{metric: {"value", "low", "high", "unit"}}``.

        JSON has no infinity: a value of None is infinite (more requests failed than the percentile leaves out).
        """
        return {
            name: {
                "value": estimate.value if math.isfinite(estimate.value) else None,
                "low": estimate.low,
                "high": estimate.high,
                "unit": _JSON_UNITS[METRICS[name].unit],
            }
            for name, estimate in self.metrics.items()
        }

    @classmethod
    def from_dict(cls, metrics: Mapping[str, Mapping[str, Any]], **others: Any) -> Measurement:
        """Read ``as_dict`` back. Metrics that the table does not know any more are left out.

        ``others`` are further fields: ``requests``, ``seconds``, ``problems``.
        """
        return cls({name: _read(values) for name, values in metrics.items() if name in METRICS}, **others)


_JSON_UNITS = {Unit.SECONDS: "s", Unit.PER_SECOND: "1/s", Unit.FRACTION: "fraction", Unit.BYTES: "B", Unit.COUNT: ""}


def _read(values: Mapping[str, Any]) -> Estimate:
    value = values["value"]
    return Estimate(math.inf if value is None else value, values.get("low"), values.get("high"))


def measure_trace(
    trace: Trace,
    *,
    batch_size: int,
    statistics: ServerStatistics | None = None,
    before: ResourceUsage | None = None,
    after: ResourceUsage | None = None,
    warmup_seconds: float = 0.0,
    extras: Mapping[str, float] | None = None,
) -> Measurement:
    """Compute every metric that can be known, and whether the measurement is valid.

    ``statistics`` is what the server counted during the trace, ``before`` and ``after`` what its processes used at
    both ends, ``extras`` further metrics by name (``load_time``, ``first_request_latency``).
    """
    metrics = {name: Estimate(value) for name, value in (extras or {}).items()}
    metrics.update((name, Estimate(value)) for name, value in _server_metrics(statistics))
    metrics.update((name, Estimate(value)) for name, value in _resource_metrics(before, after))
    metrics.update(_client_metrics(trace, batch_size))
    reasons = Counter[str]()
    if len(trace):
        import numpy as np

        for code, count in zip(*np.unique(trace.status[trace.status != OK], return_counts=True), strict=True):
            reasons[trace.reasons.get(int(code), f"status {code}")] += int(count)
    return Measurement(
        metrics={name: metrics[name] for name in METRICS if name in metrics},
        requests=len(trace),
        failures=reasons.total(),
        seconds=trace.seconds,
        warmup_seconds=warmup_seconds,
        reasons=dict(reasons.most_common()),
        problems=tuple(_problems(trace, reasons)),
        trace=trace,
    )


def latencies(trace: Trace) -> Floats:
    """Return the latency of every request in seconds, from its scheduled time, in order of completion.

    A failed request is infinitely slow, so that it exceeds every bound.
    """
    import numpy as np

    return np.where(trace.status == OK, (trace.done - trace.scheduled) / 1e9, np.inf)


def _client_metrics(trace: Trace, batch_size: int) -> dict[str, Estimate]:
    if trace.seconds <= 0 or not len(trace):
        return {}
    from pytest_triton.statistics import mean_interval, proportion_interval, quantile_intervals, throughput_interval

    slow = latencies(trace)
    good = trace.status == OK
    quantiles = {name: m.quantile for name, m in METRICS.items() if m.quantile is not None}
    done = (trace.done[good] - trace.started_ns) / 1e9
    return {
        "throughput": throughput_interval(done, 0.0, trace.seconds, batch_size),
        **dict(zip(quantiles, quantile_intervals(slow, tuple(quantiles.values())), strict=True)),
        "mean": mean_interval(slow[good]) if good.any() else Estimate(math.inf),
        "max": Estimate(float(slow.max())),
        "error_rate": proportion_interval(~good),
        "client_cpu_per_request": Estimate(trace.cpu_seconds / len(trace)),
        "client_cpu": Estimate(trace.cpu_seconds / trace.seconds),
    }


def _server_metrics(statistics: ServerStatistics | None) -> Iterator[tuple[str, float]]:
    """Mean times per request as Triton counts them. A request answered from the cache was never computed."""
    if statistics is None:
        return
    if statistics.success_count > 0:
        yield "server_queue", statistics.queue_ns / statistics.success_count / 1e9
    computed = statistics.success_count - statistics.cache_hit_count
    if computed > 0:
        yield "server_compute_input", statistics.compute_input_ns / computed / 1e9
        yield "server_compute_infer", statistics.compute_infer_ns / computed / 1e9
        yield "server_compute_output", statistics.compute_output_ns / computed / 1e9
    if statistics.execution_count > 0:
        yield "batch", statistics.inference_count / statistics.execution_count


def _resource_metrics(before: ResourceUsage | None, after: ResourceUsage | None) -> Iterator[tuple[str, float]]:
    if before is None or after is None:
        return
    # At the start the processes of the configuration before may still be ending.
    for name in ("rss", "gpu_memory"):
        known = getattr(after, name)
        if known is not None:
            yield name, float(known)
    busy = [usage.gpu_utilization for usage in (before, after) if usage.gpu_utilization is not None]
    if busy:
        yield "gpu_utilization", sum(busy) / len(busy)
    seconds = (after.at_ns - before.at_ns) / 1e9
    if before.cpu_seconds is not None and after.cpu_seconds is not None and seconds > 0:
        yield "cpu", max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds


def _problems(trace: Trace, reasons: Counter[str]) -> Iterator[str]:
    """Say why the trace is no measurement of the server: nothing was served, or the client was the bottleneck."""
    if not len(trace):
        yield f"no request completed in {show(trace.seconds, Unit.SECONDS)}"
        return
    if reasons.total() == len(trace):
        reason, count = reasons.most_common(1)[0]
        yield f"none of {len(trace)} requests succeeded; {count} of them: {reason}"
        return
    share = trace.cpu_seconds / trace.seconds if trace.seconds > 0 else 0.0
    if trace.seconds >= _CLIENT_SECONDS and share > _CLIENT_LIMIT:
        yield f"the load generator used {share:.0%} of a core, so it may have been slower than the server"
    if len(trace) >= max(_LITTLE_REQUESTS, 10 * trace.concurrency):
        flying, doubt = _in_flight(trace) if trace.windows == 1 else _in_flight_by_little(trace)
        if abs(flying / trace.concurrency - 1) > _LITTLE_LIMIT + doubt:
            yield (
                f"{flying:.2f} requests were in flight on average, not {trace.concurrency} (Little's law): "
                "the load was not the one asked for"
            )


def _in_flight(trace: Trace) -> tuple[float, float]:
    """Return the mean number of requests in flight, and 0: the count is exact, however short the window.

    Throughput x mean latency (Little, Operations Research 9, 1961) is the same but for the requests at the window's
    ends. Those that are still out at its end are not in the trace; each is one less in flight from its start on.
    So a shortfall that never shrinks again is theirs, and only what exceeds its later minimum is the client's.
    """
    import numpy as np

    # A completion before a start at the same moment, or there would be one too many for no time at all.
    moments = np.concatenate((trace.done, np.maximum(trace.sent, trace.started_ns), [trace.ended_ns]))
    steps = np.concatenate((np.full(len(trace), -1), np.full(len(trace), 1), [0]))
    order = np.argsort(moments, kind="stable")
    flying = np.cumsum(steps[order])[:-1]
    lengths = np.diff(moments[order])
    short = np.maximum(trace.concurrency - flying, 0)
    out = np.minimum.accumulate(short[::-1])[::-1]
    return float(((flying + out) * lengths).sum() / max(lengths.sum(), 1)), 0.0


def _in_flight_by_little(trace: Trace) -> tuple[float, float]:
    """Return throughput x mean latency, and by which share of the concurrency the ends of joined windows may falsify.

    At an end, each of c requests is cut at an age of mean square E[L^3] / 3 E[L] (renewal theory); of the 2 c ends
    of each window, three standard errors are allowed. Windows hardly longer than a request say nothing.
    """
    taken = (trace.done - trace.sent) / 1e9
    if taken.max() > trace.seconds / trace.windows / 4:
        return float(trace.concurrency), math.inf
    whole = trace.concurrency * trace.seconds
    ends = 2 * trace.concurrency * trace.windows
    error = 3 * math.sqrt(ends * float((taken**3).mean() / (3 * taken.mean()))) / whole
    return float(taken.sum()) / trace.seconds, error


def merge(traces: Sequence[Trace]) -> Trace:
    """Join the windows of one load, in order, into one.

    Time between two windows, in which something else was measured, is taken out: later windows move back, so that the
    sum of the windows is the new one's length.
    """
    import numpy as np

    if not traces:
        raise ValueError("there is no trace to merge")
    moved, windows, end = list[Trace](), 0, traces[0].started_ns
    for trace in traces:
        gap = trace.started_ns - end
        windows += trace.windows - 1 + (gap > 0 or not moved)
        moved.append(_shift(trace, -gap) if gap > 0 else trace)
        end = moved[-1].ended_ns
    reasons: dict[int, str] = {}
    for trace in traces:
        reasons.update(trace.reasons)
    return Trace(
        scheduled=np.concatenate([trace.scheduled for trace in moved]),
        sent=np.concatenate([trace.sent for trace in moved]),
        first_response=np.concatenate([trace.first_response for trace in moved]),
        done=np.concatenate([trace.done for trace in moved]),
        status=np.concatenate([trace.status for trace in moved]),
        started_ns=moved[0].started_ns,
        ended_ns=end,
        cpu_seconds=sum(trace.cpu_seconds for trace in traces),
        concurrency=traces[0].concurrency,
        reasons=reasons,
        windows=windows,
    )


def _shift(trace: Trace, by_ns: int) -> Trace:
    return replace(
        trace,
        scheduled=trace.scheduled + by_ns,
        sent=trace.sent + by_ns,
        first_response=trace.first_response + by_ns,
        done=trace.done + by_ns,
        started_ns=trace.started_ns + by_ns,
        ended_ns=trace.ended_ns + by_ns,
    )


def trim(trace: Trace, after_ns: int) -> Trace:
    """Return the rest of ``trace`` once every request that was sent before ``after_ns`` had completed.

    The new window begins at the last of those completions, not at ``after_ns``: between the two some completions
    would be missing, and throughput would come out too low. Its share of the CPU time goes with its length.
    """
    early = trace.done[trace.sent < after_ns]
    start = max(trace.started_ns, min(trace.ended_ns, max(after_ns, int(early.max()) if len(early) else after_ns)))
    keep = (trace.done > start) & (trace.sent >= after_ns)
    seconds = (trace.ended_ns - start) / 1e9
    return replace(
        trace,
        scheduled=trace.scheduled[keep],
        sent=trace.sent[keep],
        first_response=trace.first_response[keep],
        done=trace.done[keep],
        status=trace.status[keep],
        started_ns=start,
        cpu_seconds=trace.cpu_seconds * seconds / trace.seconds if trace.seconds > 0 else 0.0,
    )
