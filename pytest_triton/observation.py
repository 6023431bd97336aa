"""What is observed while a load runs, before anything is computed from it.

Three witnesses: the engine's trace, the server's own statistics, and the resources it used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Times = NDArray[np.int64]
    Codes = NDArray[np.int16]
    Indices = NDArray[np.int32]

OK = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What an engine recorded of the requests that completed between two moments.

    All times are nanoseconds of ``time.monotonic_ns``. The arrays have one entry per request, in the order of
    completion. ``scheduled`` is when a request was due, which in closed loop is when it was ``sent``. ``status`` is 0
    for success, an HTTP status code from 100, a gRPC status code from 1 to 16, or a negative code for what happened on
    the wire; ``reasons`` says in words what each code other than 0 meant.

    ``request`` says which of the plan's requests it was (None: the only one); ``sequence`` is its correlation id
    (None: the load has no sequences). Of a stream, ``responses`` counts the answers to each request (None: one each, as
    far as it succeeded), and ``response_at`` has the times of all of them, request after request.

    ``concurrency`` is 0 in open loop, where ``offered`` counts the requests that became due between the two moments and
    ``dispatched`` those that were sent. ``cpu_seconds`` is the CPU time that all load generating threads used,
    ``busiest`` that of the one that used most (None: there was one). ``windows`` counts the separate spans of time that
    were joined into this one.
    """

    scheduled: Times
    sent: Times
    first_response: Times
    done: Times
    status: Codes
    started_ns: int
    ended_ns: int
    cpu_seconds: float
    concurrency: int
    reasons: Mapping[int, str] = field(default_factory=dict)
    windows: int = 1
    request: Indices | None = None
    sequence: Times | None = None
    responses: Indices | None = None
    response_at: Times | None = None
    offered: int = 0
    dispatched: int = 0
    busiest: float | None = None

    def __len__(self) -> int:
        return len(self.done)

    @property
    def seconds(self) -> float:
        """The time between the two moments."""
        return (self.ended_ns - self.started_ns) / 1e9


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Triton's cumulative statistics of one model, all versions added up. Times in ns."""

    inference_count: int = 0
    execution_count: int = 0
    success_count: int = 0
    success_ns: int = 0
    fail_count: int = 0
    queue_ns: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0
    cache_hit_count: int = 0

    def since(self, earlier: ServerStatistics) -> ServerStatistics:
        """Return what happened after ``earlier`` was taken."""
        return ServerStatistics(*(getattr(self, name) - getattr(earlier, name) for name in self.__slots__))

    def plus(self, other: ServerStatistics) -> ServerStatistics:
        """Return both spans taken together."""
        return ServerStatistics(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the server counted in a stretch of a measurement, which ended when its statistics were read, at ``at_ns``.

    It began where the stretch before it ended.
    """

    at_ns: int
    statistics: ServerStatistics


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What the server's processes use at one moment. None where it cannot be known.

    ``gpu_memory`` is in use, whoever uses it, of ``gpu_memory_total``. ``children`` counts the processes below the
    server's own: Triton's Python backend has one for each instance. ``quota_periods`` counts the periods of a CPU quota
    so far, and ``throttled_periods`` those at whose end there was nothing left of it.
    """

    rss: int | None = None
    cpu_seconds: float | None = None
    gpu_memory: int | None = None
    children: int | None = None
    at_ns: int = 0
    gpu_memory_total: int | None = None
    quota_periods: int | None = None
    throttled_periods: int | None = None


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """What GPUs are doing at one moment, whoever uses them. None where that is not known, or there is no GPU.

    Of several GPUs, ``memory`` in use and the ``total`` there is (bytes), ``power`` (W) and the ``energy`` since some
    moment (J) are sums; ``utilization`` (a fraction of 1) and ``clock`` (of the multiprocessors, Hz) are means.
    ``slowdowns`` say why clocks are held down; Triton's metrics do not tell.
    """

    memory: int | None = None
    utilization: float | None = None
    total: int | None = None
    power: float | None = None
    energy: float | None = None
    clock: float | None = None
    slowdowns: frozenset[str] | None = None
    at_ns: int = 0

    @property
    def known(self) -> bool:
        """Whether anything is known of a GPU."""
        return (self.memory, self.utilization, self.power, self.energy) != (None,) * 4


def add_up_figures(each: Sequence[GpuFigures]) -> GpuFigures:
    """Put the figures of several GPUs together. Of a sum to which one of them adds nothing known, nothing is known."""

    def known(name: str) -> list[Any] | None:
        values = [getattr(figures, name) for figures in each]
        return values if values and None not in values else None

    sums = {name: sum(values) for name in ("memory", "total", "power", "energy") if (values := known(name))}
    means = {name: sum(values) / len(values) for name in ("utilization", "clock") if (values := known(name))}
    reasons = known("slowdowns")
    slowdowns = frozenset[str]().union(*reasons) if reasons is not None else None
    return GpuFigures(**sums, **means, slowdowns=slowdowns, at_ns=max((figures.at_ns for figures in each), default=0))


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """What GPUs did over a stretch of ``seconds``, in which they were read ``readings`` times.

    ``memory`` is the most that was in use (bytes), ``utilization`` (a fraction of 1), ``power`` (W) and ``clock`` (Hz)
    are means over time; several GPUs are added up as in ``GpuFigures``. ``throttled`` is the share of the readings in
    which anything held the clocks down, and ``slowdowns`` has that of each reason.
    """

    memory: int | None = None
    utilization: float | None = None
    power: float | None = None
    clock: float | None = None
    throttled: float | None = None
    slowdowns: Mapping[str, float] = field(default_factory=dict)
    readings: int = 0
    seconds: float = 0.0
