"""The one table of metrics: name, unit, which way is better, how it is shown.

Every other module asks this table; nothing else lists metrics.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

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
    GPU = "a GPU that NVML shows on this machine, or that the server's metrics tell of"
    NVML = "a GPU that NVML shows on this machine"
    QUOTA = "a container, or another cgroup, with a CPU quota that this run and its server are in"
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
    where that is more than any load on any server. ``model`` is the model under a load of its own beside the measured
    one that it is of, as in ``other:p99``; empty for the measured one's.
    """

    name: str
    unit: Unit
    better: Better
    meaning: str
    quantile: float | None = None
    series: str = ""
    most: float = math.inf
    needs: Needs | None = None
    model: str = ""

    @property
    def plain(self) -> str:
        """Its name without the model's."""
        return self.name.rpartition(":")[2]


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
        Metric(
            "cpu_throttled", fraction, low, "share of the periods that used a CPU quota up", most=1.0, needs=Needs.QUOTA
        ),
        Metric("gpu_memory", size, low, "the most GPU memory in use", needs=Needs.GPU),
        Metric("gpu_utilization", fraction, high, "mean GPU utilisation", most=1.0, needs=Needs.GPU),
        Metric("gpu_power", Unit.WATTS, low, "mean power of the GPUs", needs=Needs.GPU),
        Metric("energy_per_inference", Unit.JOULES, low, "energy the GPUs used by inferences", needs=Needs.GPU),
        Metric("gpu_clock", Unit.HERTZ, high, "mean clock of the GPUs' multiprocessors", needs=Needs.NVML),
        Metric(
            "gpu_throttled", fraction, low, "share of the time that a GPU was throttled", most=1.0, needs=Needs.NVML
        ),
    ]
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, Metric] = _table()


_OF_THE_SERVER = (
    *("rss", "cpu", "cpu_throttled"),
    *("gpu_memory", "gpu_utilization", "gpu_power", "energy_per_inference", "gpu_clock", "gpu_throttled"),
)
_OF_ONE_MODEL = ("load_time", "first_request_latency", "client_cpu", "client_cpu_per_request")
"""Metrics of the measured model, and of the load on it, only."""


def metric(name: str) -> Metric:
    """Look a metric up by name: ``p99``, or ``other:p99`` for a model under a load of its own beside the measured one.

    Raises ``UsageError`` with the nearest valid name.
    """
    if name in METRICS:
        return METRICS[name]
    model, _, plain = name.rpartition(":")
    if plain not in METRICS:
        raise UsageError(f"unknown metric {name!r}", hint=nearest(plain, METRICS))
    if not model:
        raise UsageError(f"{name!r} names no model", hint=f"write {plain!r}, or the model before it: 'other:{plain}'")
    if plain in _OF_THE_SERVER:
        raise UsageError(f"{name}: {plain} is the whole server's, not one model's", hint=f"write {plain!r}")
    if plain in _OF_ONE_MODEL:
        raise UsageError(
            f"{name}: {plain} is not known of a model beside the measured one", hint=f"measure {model} alone for it"
        )
    return _of_model(model, plain)


@cache
def _of_model(model: str, plain: str) -> Metric:
    found = METRICS[plain]
    return replace(found, name=f"{model}:{plain}", meaning=f"{found.meaning}, of {model}", model=model)


def is_metric(name: str) -> bool:
    """Tell whether there is a metric of this name."""
    try:
        metric(name)
    except UsageError:
        return False
    return True


def of_model(model: str, metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the metrics of a model beside the measured one by the names that they have there."""
    return {f"{model}:{name}": metrics[name] for name in metrics if is_metric(f"{model}:{name}")}


def in_order(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return metrics in the order of the table; those of other models come after the measured one's."""
    return {name: metrics[name] for name in (*METRICS, *metrics) if name in metrics}
