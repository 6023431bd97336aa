"""What a trace, the server's own statistics and its resources say: a measurement.

NumPy and the statistics are imported where they compute, because collection imports this module's words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_triton.metrics import METRICS, Estimate, in_order, is_metric, metric
from pytest_triton.observation import OK, GpuUsage, ResourceUsage, ServerStatistics, Stretch, Trace
from pytest_triton.quantities import Unit
from pytest_triton.series import SERIES, latencies
from pytest_triton.slo import SLO
from pytest_triton.validity import cautions, doubts, problems, smallest_latency_bound


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of a case. ``metrics`` in seconds, bytes, per second and fractions.

    ``reasons`` counts why requests failed. ``problems`` say why the measurement is not valid; empty, it is.
    ``doubts`` say why latencies may be longer than the server's, so that no bound on them can be shown to be missed.
    ``cautions`` say why the server may be faster than it was: something held the clocks of its GPU down.
    ``unsteady`` says that latency did not settle during the warm-up. ``looks`` is how often it was judged so far, and
    ``limit`` the seconds that it could have gone on undecided; 0 where there was nothing to decide early.
    ``composing`` is what the server counted, meanwhile, of the models that this one calls: the steps of an ensemble,
    or what its own code calls (business logic scripting).
    ``beside`` has what was measured, meanwhile, of other models under loads of their own; their metrics are among
    ``metrics``, with the model's name before them (``other:p99``).
    ``stretches`` say, in order, what the server counted from one moment of the trace to the next.
    ``trace`` is None where single requests were not recorded or not kept.
    """

    metrics: Mapping[str, Estimate]
    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    unsteady: bool = False
    looks: int = 1
    limit: float = 0.0
    composing: Mapping[str, ServerStatistics] = field(default_factory=dict)
    beside: Mapping[str, Measurement] = field(default_factory=dict, compare=False, repr=False)
    trace: Trace | None = field(default=None, compare=False, repr=False)
    stretches: tuple[Stretch, ...] = field(default=(), compare=False, repr=False)

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
                "unit": _JSON_UNITS[metric(name).unit],
            }
            for name, estimate in self.metrics.items()
        }

    @classmethod
    def from_dict(cls, metrics: Mapping[str, Mapping[str, Any]], **others: Any) -> Measurement:
        """Read ``as_dict`` back. Metrics that the table does not know any more are left out.

        ``others`` are further fields: ``requests``, ``seconds``, ``problems``.
        """
        return cls({name: _read(values) for name, values in metrics.items() if is_metric(name)}, **others)


_JSON_UNITS = {unit: unit.value for unit in Unit} | {Unit.PER_SECOND: "1/s", Unit.FRACTION: "fraction"}


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
    composing: Mapping[str, ServerStatistics] | None = None,
    slo: SLO | None = None,
    gpu: GpuUsage | None = None,
) -> Measurement:
    """Compute every metric that can be known, and whether the measurement is valid.

    ``statistics`` is what the server counted during the trace, ``composing`` the same of the models that this one
    calls, ``before`` and ``after`` what its processes used at both ends, ``extras`` further metrics by name
    (``load_time``, ``first_request_latency``), ``gpu`` what its GPUs did. How late requests may be sent goes by the
    bounds of ``slo``.
    """
    metrics = {name: Estimate(value) for name, value in (extras or {}).items()}
    metrics.update((name, Estimate(value)) for name, value in server_metrics(statistics))
    metrics.update((name, Estimate(value)) for name, value in _resource_metrics(before, after))
    metrics.update(_client_metrics(trace, batch_size))
    metrics.update(_gpu_metrics(gpu, metrics.get("throughput")))
    reasons = Counter[str]()
    if len(trace):
        import numpy as np

        for code, count in zip(*np.unique(trace.status[trace.status != OK], return_counts=True), strict=True):
            reasons[trace.reasons.get(int(code), f"status {code}")] += int(count)
    return Measurement(
        metrics=in_order(metrics),
        requests=len(trace),
        failures=reasons.total(),
        seconds=trace.seconds,
        warmup_seconds=warmup_seconds,
        reasons=dict(reasons.most_common()),
        problems=tuple(problems(trace, reasons)),
        doubts=tuple(doubts(trace, latency_bound=smallest_latency_bound(slo or SLO()))),
        cautions=tuple(cautions(gpu)),
        composing=dict(composing or {}),
        trace=trace,
    )


def _client_metrics(trace: Trace, batch_size: int) -> dict[str, Estimate]:
    if trace.seconds <= 0 or not len(trace):
        return {}
    from pytest_triton.statistics import mean_interval, proportion_interval, quantile_intervals, throughput_interval

    slow = latencies(trace)
    good = trace.status == OK
    done = (trace.done[good] - trace.started_ns) / 1e9
    metrics = {
        "throughput": throughput_interval(done, 0.0, trace.seconds, batch_size),
        "mean": mean_interval(slow[good]) if good.any() else Estimate(math.inf),
        "max": Estimate(float(slow.max())),
        "error_rate": proportion_interval(~good),
        "client_cpu_per_request": Estimate(trace.cpu_seconds / len(trace)),
        "client_cpu": Estimate(trace.cpu_seconds / trace.seconds),
    }
    for series, values_of in SERIES.items():
        values = slow if series == "latency" else values_of(trace)
        if len(values):
            quantiles = {m.name: m.quantile for m in METRICS.values() if m.series == series and m.quantile is not None}
            metrics.update(zip(quantiles, quantile_intervals(values, tuple(quantiles.values())), strict=True))
    if trace.responses is not None:
        answers = trace.responses[good].astype(float)
        metrics["response_throughput"] = throughput_interval(done, 0.0, trace.seconds, answers)
        if len(answers):
            metrics["responses"] = mean_interval(answers)
    if trace.concurrency == 0:
        metrics["offered_rate"] = Estimate(trace.offered / trace.seconds)
        metrics["achieved_rate"] = Estimate(trace.dispatched / trace.seconds)
    return metrics


def server_metrics(statistics: ServerStatistics | None) -> Iterator[tuple[str, float]]:
    """Yield name and mean time per request, as Triton counts them, and the mean batch.

    A request answered from the cache was never computed.
    """
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
    if after.rss is not None:
        yield "rss", float(after.rss)
    seconds = (after.at_ns - before.at_ns) / 1e9
    if before.cpu_seconds is not None and after.cpu_seconds is not None and seconds > 0:
        yield "cpu", max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds
    periods = _grown(before.quota_periods, after.quota_periods)
    throttled = _grown(before.throttled_periods, after.throttled_periods)
    if periods and throttled is not None:
        yield "cpu_throttled", throttled / periods


def _grown(before: int | None, after: int | None) -> int | None:
    return after - before if before is not None and after is not None else None


def _gpu_metrics(gpu: GpuUsage | None, throughput: Estimate | None) -> Iterator[tuple[str, Estimate]]:
    if gpu is None:
        return
    known = {
        "gpu_memory": gpu.memory,
        "gpu_utilization": gpu.utilization,
        "gpu_power": gpu.power,
        "gpu_clock": gpu.clock,
        "gpu_throttled": gpu.throttled,
    }
    for name, value in known.items():
        if value is not None:
            yield name, Estimate(float(value))
    if gpu.power is not None and throughput is not None and throughput.value > 0:
        least, most = throughput.low, throughput.high
        yield (
            "energy_per_inference",
            Estimate(
                gpu.power / throughput.value,
                low=gpu.power / most if most else None,
                high=gpu.power / least if least else None,
            ),
        )
