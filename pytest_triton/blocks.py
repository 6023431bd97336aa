"""Contenders that take turns on one server: a block of load of each at a time, and what that comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from pytest_triton.case import Case
from pytest_triton.composing import Composing, Counting, add_up
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.gpu_usage import join
from pytest_triton.load.base import Engine, LoadSession
from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import Better, Estimate, Needs, in_order, metric
from pytest_triton.neighbours import Neighbours, add_beside, measure_beside
from pytest_triton.observation import GpuUsage, ResourceUsage, ServerStatistics, Trace
from pytest_triton.opening import cycle_of, open_load, under_way
from pytest_triton.search.objective import Objective
from pytest_triton.server.base import Server
from pytest_triton.server.gpu_watch import GpuSource, GpuWatch
from pytest_triton.windows import align, merge

MEMORY = ("rss", "gpu_memory")
"""Metrics of all that is loaded."""
ALONE = (*MEMORY, "gpu_utilization")
"""Metrics that blocks do not tell: NVML's utilisation is that of the last second, the contender before included."""
_TURNS = 2
"""Requests of each connection that a block has; of a slow model one."""
_BEYOND = 5
"""Requests beyond a percentile that a block has."""
_LONGER = 3.0
"""How many times longer than planned a block lasts at most, for the requests that it should have."""
_USED = (Needs.OWN_SERVER, Needs.QUOTA)
_OFTEN = 0.1
"""Seconds between two readings of GPUs that are often enough for a block."""
_LOOKED_AT = 4
"""Blocks in which the resources in use are read: that takes longer, the more processes and memory there are."""
_SLOWEST = 60.0
"""Seconds that every connection may take for its first request."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a comparison: a case, and how to make the server serve it now.

    ``alone`` is its memory, and GPU utilisation, when nothing else is loaded, measured before; ``instances`` is the
    total of its configuration. Objectives that divide by them need them.
    """

    case: Case
    deploy: Callable[[], Deployment]
    alone: Mapping[str, Estimate] = field(default_factory=dict)
    instances: int = 1

    def with_memory(self, measurement: Measurement) -> Measurement:
        """Return the measurement with what was measured of it ``alone``: beside others, that is not known."""
        metrics = {name: measurement.metrics[name] for name in measurement.metrics if name not in ALONE}
        metrics.update(self.alone)
        return replace(measurement, metrics=in_order(metrics))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a block is, in seconds: its ``warmup``, which has a request of each connection at least, and the rest.

    It is longer, three times at most, where ``requests`` requests take longer, or those that the objective needs.
    """

    seconds: float = 0.25
    warmup: float = 0.1
    requests: int = 12


@dataclass(frozen=True, slots=True)
class Bout:
    """Where contenders meet: a server, an engine, what is known of the models there, and what they are compared by."""

    server: Server
    engine: Engine
    deployer: Deployer
    by: Objective
    pace: Pace = field(default_factory=Pace)


@dataclass(slots=True)
class Side:
    """A contender with its blocks so far, and its ``deployment`` in the last one."""

    contender: Contender
    deployment: Deployment | None = None
    _traces: list[Trace] = field(default_factory=list)
    _statistics: list[ServerStatistics] = field(default_factory=list)
    _composing: list[Composing] = field(default_factory=list)
    _beside: list[tuple[dict[str, Trace], Composing]] = field(default_factory=list)
    """Of the models under load beside: their traces, and what the server counted of them."""
    _wanted: frozenset[str] = frozenset()
    """Those of them whose figures something depends on."""
    _usage: list[tuple[ResourceUsage, ResourceUsage]] = field(default_factory=list)
    _gpu: list[GpuUsage] = field(default_factory=list)
    _cold_start: dict[str, float] = field(default_factory=dict)

    def take_turn(self, bout: Bout, seed: int) -> float:
        """Run one block on fresh connections and return the objective's value; ``seed`` fixes the arrivals.

        Raises what ``measure`` raises.
        """
        case, pace, deployer = self.contender.case, bout.pace, bout.deployer
        deployment = self.contender.deploy()
        verified = deployer.prepare(deployment, case, again=False)
        self._cold_start, self.deployment = deployer.cold_start(deployment), deployment
        self._wanted = frozenset((*case.slo.models, *bout.by.models)) & case.beside.keys()
        seconds = max(pace.seconds, cycle_of(case.load))
        under = under_way(case.load)
        with open_load(
            bout.server, bout.engine, case, deployment, verified, workers=bout.engine.workers or 1, seed=seed
        ) as (session, neighbours):
            session.start()
            before = session.collect(seconds=pace.warmup, requests=under, limit=_SLOWEST)
            counting, used = Counting(bout.server.control, deployment.name, apart=case.beside), self._usage_of(bout)
            neighbours.begin()
            requests = max(_TURNS * under, pace.requests, _beyond(bout.by))
            with GpuWatch(_quick(bout.server.gpu_source)) as gpus:
                trace = _collect(session, seconds, under, requests)
                trace = align(_wait_for(neighbours, self._wanted, session, trace, case, bout), before)
                gpu = gpus.usage()
            counted, composing, apart = counting.look()
            after = self._usage_of(bout)
            session.stop()
        bout.server.check()
        self._statistics.append(counted)
        self._composing.append(composing)
        self._traces.append(trace)
        self._beside.append((neighbours.traces(), apart))
        if used is not None and after is not None:
            self._usage.append((used, after))
        if gpu is not None:
            self._gpu.append(gpu)
        measured = measure_trace(
            trace,
            batch_size=case.load.batch_size,
            statistics=counted,
            before=used,
            after=after,
            extras=self._cold_start,
            gpu=gpu,
        )
        measured = add_beside(measured, self._measure_beside(self._beside[-1:]), ())
        value = bout.by.value({**measured.metrics, **self.contender.alone}, self.contender.instances)
        # A block in which nothing was served has the worst value there is.
        return value.value if value is not None else 0.0 if bout.by.better is Better.HIGHER else math.inf

    def _usage_of(self, bout: Bout) -> ResourceUsage | None:
        """Read what the server uses, while that is not known yet or is what contenders are compared by."""
        wanted = len(self._usage) < _LOOKED_AT or any(metric(name).needs in _USED for name in bout.by.metrics)
        return bout.server.usage() if wanted else None

    def _measure_beside(self, blocks: Sequence[tuple[dict[str, Trace], Composing]]) -> dict[str, Measurement]:
        """Return what some of the blocks say of the models under load beside."""
        case = self.contender.case
        traces = {model: merge([traces[model] for traces, _ in blocks]) for model in case.beside}
        return measure_beside(traces, add_up(counted for _, counted in blocks), case.beside, case.slo)

    def measurement(self) -> Measurement:
        """Return all blocks taken together, with the memory that the contender takes alone."""
        together = measure_trace(
            merge(self._traces),
            batch_size=self.contender.case.load.batch_size,
            statistics=reduce(ServerStatistics.plus, self._statistics),
            before=ResourceUsage(cpu_seconds=0.0, quota_periods=0, throttled_periods=0),
            after=_add_up(self._usage),
            extras=self._cold_start,
            composing=add_up(self._composing),
            slo=self.contender.case.slo.on(),
            gpu=join(self._gpu) if self._gpu else None,
        )
        measured = add_beside(together, self._measure_beside(self._beside), self._wanted)
        return self.contender.with_memory(measured)


def _collect(session: LoadSession, seconds: float, least: int, wanted: int) -> Trace:
    """Collect for ``seconds`` and ``least`` requests, however long they take, and then for the ``wanted`` ones."""
    trace = session.collect(seconds=seconds, requests=least, limit=max(seconds, _SLOWEST))
    left = _LONGER * seconds - trace.seconds
    if len(trace) >= wanted or left <= 0 or session.hopeless:
        return trace
    return merge([trace, session.collect(seconds=0.001, requests=wanted - len(trace), limit=left)])


def _wait_for(
    neighbours: Neighbours, models: Iterable[str], session: LoadSession, trace: Trace, case: Case, bout: Bout
) -> Trace:
    """Go on until these models beside have answered as often as the measured one must."""
    neighbours.collect()
    seconds = trace.seconds
    for model in models:
        least = under_way(case.beside[model].load)
        wanted = max(bout.pace.requests, _beyond(bout.by, model))
        while (held := neighbours.requests(model)) < wanted and not session.hopeless:
            if trace.seconds >= (_LONGER * seconds if held >= least else _SLOWEST):
                break
            trace = merge([trace, session.collect(seconds=seconds / 2)])
            neighbours.collect()
    return trace


def _quick(source: GpuSource | None) -> GpuSource | None:
    """Leave out what tells of GPUs less often than a block ends: it would tell of the contender before."""
    return source if source is not None and source.interval <= _OFTEN else None


def _beyond(by: Objective, model: str = "") -> int:
    """Return how many requests to a model show a percentile of it that ``by`` is made of."""
    metrics = [found for name in by.metrics if (found := metric(name)).model == model]
    beyond = [1 - (each.quantile or 0.0) for each in metrics]
    return math.ceil(_BEYOND / min(beyond, default=1.0))


def _add_up(spans: list[tuple[ResourceUsage, ResourceUsage]]) -> ResourceUsage:
    """Return what was used in all spans, as if they followed each other from nothing at 0.

    Other contenders may be loaded at the same time, so that the memory in use belongs to none.
    """

    def total(name: str) -> Any:
        ends = [(getattr(before, name), getattr(after, name)) for before, after in spans]
        known = [after - before for before, after in ends if before is not None and after is not None]
        return sum(known) if known else None

    return ResourceUsage(
        cpu_seconds=total("cpu_seconds"),
        quota_periods=total("quota_periods"),
        throttled_periods=total("throttled_periods"),
        at_ns=sum(after.at_ns - before.at_ns for before, after in spans),
    )
