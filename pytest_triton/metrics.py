"""The one table of metrics: name, unit, which way is better, how it is shown.

Every other module asks this table; nothing else lists metrics.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_triton.errors import UsageError, nearest
from pytest_triton.quantities import Unit


class Better(enum.Enum):
    """Which way a metric is better; an SLO bound without a direction limits the other way."""

    LOWER = "<="
    HIGHER = ">="


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a measurement.

    ``series`` names what it summarises of each single request or response, if that is what it does: ``latency``,
    ``ttfr`` (time to first response), ``inter_response``, ``send_lag``. ``quantile`` is set for percentiles of such a
    series only (0.99 for p99).
    """

    name: str
    unit: Unit
    better: Better
    meaning: str
    quantile: float | None = None
    series: str = ""


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


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def _percentiles(prefix: str, series: str, of: str, which: Sequence[str] = tuple(_QUANTILES)) -> Iterator[Metric]:
    for name in which:
        q = _QUANTILES[name]
        yield Metric(f"{prefix}{name}", Unit.SECONDS, Better.LOWER, f"{q:.1%} quantile of {of}", q, series)


def _table() -> dict[str, Metric]:
    low, high = Better.LOWER, Better.HIGHER
    seconds, fraction, size, count = Unit.SECONDS, Unit.FRACTION, Unit.BYTES, Unit.COUNT
    rate = Unit.PER_SECOND
    metrics = [
        Metric("throughput", rate, high, "inferences per second: successful requests x batch size"),
        *_percentiles("", "latency", "latency"),
        Metric("mean", seconds, low, "mean latency of the requests that succeeded", series="latency"),
        Metric("max", seconds, low, "largest latency; infinite when a request failed", series="latency"),
        Metric("error_rate", fraction, low, "failed requests, as a fraction of all"),
        *_percentiles("ttfr_", "ttfr", "the time to first response of a stream"),
        *_percentiles("inter_response_", "inter_response", "the time between two responses to one request"),
        Metric("response_throughput", rate, high, "responses per second to the requests that succeeded"),
        Metric("responses", count, high, "mean number of responses to a request that succeeded"),
        Metric("offered_rate", rate, high, "requests per second that became due, in open loop"),
        Metric("achieved_rate", rate, high, "requests per second that were sent, in open loop"),
        *_percentiles("send_lag_", "send_lag", "how late requests were sent, in open loop", ("p50", "p99")),
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
