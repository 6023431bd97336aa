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


class Needs(enum.Enum):
    """What a metric takes that not every server and load have, in words."""

    STREAM = "a load that streams, as in triton_load(protocol='grpc', streaming=True)"
    OPEN_LOOP = "an open loop, as in triton_load(rate='400/s')"
    OWN_SERVER = "a server that runs as a process of this run, not one at an address"
    GPU = "a GPU that Triton reports in its metrics, on a server that runs here"
    LOADING = (
        "a model that is loaded for the measurement: what a running server has served already is not loaded anew, "
        "so unload it there before"
    )
    STATISTICS = "requests that Triton's statistics count as computed: answers from its cache are not"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a measurement.

    ``series`` names what it summarises of each single request or response, if that is what it does: ``latency``,
    ``ttfr`` (time to first response), ``inter_response``, ``send_lag``. ``quantile`` is set for percentiles of such a
    series only (0.99 for p99). ``most`` is the largest value that it can have, ``needs`` what it takes to be known,
    where that is more than any load on any server.
    """

    name: str
    unit: Unit
    better: Better
    meaning: str
    quantile: float | None = None
    series: str = ""
    most: float = math.inf
    needs: Needs | None = None


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


def _percentiles(
    prefix: str, series: str, of: str, which: Sequence[str] = tuple(_QUANTILES), needs: Needs | None = None
) -> Iterator[Metric]:
    for name in which:
        q = _QUANTILES[name]
        yield Metric(f"{prefix}{name}", Unit.SECONDS, Better.LOWER, f"{q:.1%} quantile of {of}", q, series, needs=needs)


def _table() -> dict[str, Metric]:
    low, high = Better.LOWER, Better.HIGHER
    seconds, fraction, size, count = Unit.SECONDS, Unit.FRACTION, Unit.BYTES, Unit.COUNT
    rate = Unit.PER_SECOND
    stream, opened, counted = Needs.STREAM, Needs.OPEN_LOOP, Needs.STATISTICS
    metrics = [
        Metric("throughput", rate, high, "inferences per second: successful requests x batch size"),
        *_percentiles("", "latency", "latency"),
        Metric("mean", seconds, low, "mean latency of the requests that succeeded", series="latency"),
        Metric("max", seconds, low, "largest latency; infinite when a request failed", series="latency"),
        Metric("error_rate", fraction, low, "failed requests, as a fraction of all", most=1.0),
        *_percentiles("ttfr_", "ttfr", "the time to first response of a stream", needs=stream),
        *_percentiles(
            "inter_response_", "inter_response", "the time between two responses to one request", needs=stream
        ),
        Metric("response_throughput", rate, high, "responses per second to the requests that succeeded", needs=stream),
        Metric("responses", count, high, "mean number of responses to a request that succeeded", needs=stream),
        Metric("offered_rate", rate, high, "requests per second that became due, in open loop", needs=opened),
        Metric("achieved_rate", rate, high, "requests per second that were sent, in open loop", needs=opened),
        *_percentiles("send_lag_", "send_lag", "how late requests were sent, in open loop", ("p50", "p99"), opened),
        Metric("client_cpu_per_request", seconds, low, "CPU time the load generator spent on a request"),
        Metric("client_cpu", fraction, low, "share of one core that the load generator used"),
        Metric("server_queue", seconds, low, "mean time in Triton's queue", needs=counted),
        Metric("server_compute_input", seconds, low, "mean time Triton took to prepare inputs", needs=counted),
        Metric("server_compute_infer", seconds, low, "mean time in the model", needs=counted),
        Metric("server_compute_output", seconds, low, "mean time Triton took to copy outputs", needs=counted),
        Metric("batch", count, high, "mean number of inferences in one execution", needs=counted),
        Metric("load_time", seconds, low, "time Triton took to load the model", needs=Needs.LOADING),
        Metric("first_request_latency", seconds, low, "latency of the first request after a load", needs=Needs.LOADING),
        Metric("rss", size, low, "resident memory of the server and its model processes", needs=Needs.OWN_SERVER),
        Metric("cpu", fraction, low, "CPU used by the server, as a fraction of one core", needs=Needs.OWN_SERVER),
        Metric("gpu_memory", size, low, "GPU memory in use", needs=Needs.GPU),
        Metric("gpu_utilization", fraction, high, "mean GPU utilisation", most=1.0, needs=Needs.GPU),
    ]
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, Metric] = _table()


def metric(name: str) -> Metric:
    """Look a metric up by name. Raises ``UsageError`` with the nearest valid name."""
    try:
        return METRICS[name]
    except KeyError:
        raise UsageError(f"unknown metric {name!r}", hint=nearest(name, METRICS)) from None
