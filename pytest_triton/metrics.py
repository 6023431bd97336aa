"""The one table of metrics: name, unit, which way is better, how it is shown.

Every other module asks this table; nothing else lists metrics.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from pytest_triton.errors import UsageError, nearest
from pytest_triton.quantities import Unit


class Better(enum.Enum):
    """Which way a metric is better; an SLO bound without a direction limits the other way."""

    LOWER = "<="
    HIGHER = ">="


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a measurement. ``quantile`` is set for latency percentiles only (0.99 for p99)."""

    name: str
    unit: Unit
    better: Better
    meaning: str
    quantile: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value and the 95 % interval around it; an end that is not known, or not finite, is None."""

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            if value is not None and not math.isfinite(value):
                object.__setattr__(self, end, None)


def _table() -> dict[str, Metric]:
    low, high = Better.LOWER, Better.HIGHER
    seconds, fraction, size, count = Unit.SECONDS, Unit.FRACTION, Unit.BYTES, Unit.COUNT
    quantiles = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
    metrics = [
        Metric("throughput", Unit.PER_SECOND, high, "inferences per second: successful requests x batch size"),
        *(Metric(name, seconds, low, f"{q:.1%} quantile of latency", q) for name, q in quantiles.items()),
        Metric("mean", seconds, low, "mean latency of the requests that succeeded"),
        Metric("max", seconds, low, "largest latency; infinite when a request failed"),
        Metric("error_rate", fraction, low, "failed requests, as a fraction of all"),
        Metric("client_cpu_per_request", seconds, low, "CPU time the load generator spent on a request"),
        Metric("client_cpu", fraction, low, "share of one core that the load generator used"),
        Metric("server_queue", seconds, low, "mean time in Triton's queue"),
        Metric("server_compute_input", seconds, low, "mean time Triton took to prepare inputs"),
        Metric("server_compute_infer", seconds, low, "mean time in the model"),
        Metric("server_compute_output", seconds, low, "mean time Triton took to copy outputs"),
        Metric("batch", count, high, "mean number of inferences in one execution"),
        Metric("load_time", seconds, low, "time Triton took to load the model"),
        Metric("first_request_latency", seconds, low, "latency of the first request after a load"),
        Metric("rss", size, low, "resident memory of the server and its model processes"),
        Metric("cpu", fraction, low, "CPU used by the server, as a fraction of one core"),
        Metric("gpu_memory", size, low, "GPU memory in use"),
        Metric("gpu_utilization", fraction, high, "mean GPU utilisation"),
    ]
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, Metric] = _table()


def metric(name: str) -> Metric:
    """Look a metric up by name. Raises ``UsageError`` with the nearest valid name."""
    try:
        return METRICS[name]
    except KeyError:
        raise UsageError(f"unknown metric {name!r}", hint=nearest(name, METRICS)) from None
