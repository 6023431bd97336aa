"""Contenders that take turns on one server: a block of load of each at a time, and what that comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

from pytest_triton.case import Case
from pytest_triton.composing import Composing, Counting, add_up
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.load.base import Engine, LoadSession
from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import METRICS, Better, Estimate, Needs
from pytest_triton.observation import ResourceUsage, ServerStatistics, Trace
from pytest_triton.opening import cycle_of, open_load, under_way
from pytest_triton.search.objective import Objective
from pytest_triton.server.base import Server
from pytest_triton.windows import align, merge

MEMORY = ("rss", "gpu_memory")
"""Metrics of all that is loaded."""
_TURNS = 2
"""Requests of each connection that a block has; of a slow model one."""
_BEYOND = 5
"""Requests beyond a percentile that a block has."""
_LONGER = 3.0
"""How many times longer than planned a block lasts at most, for the requests that it should have."""
_USED = (Needs.OWN_SERVER, Needs.GPU)
_LOOKED_AT = 4
"""Blocks in which the resources in use are read: that takes longer, the more processes and memory there are."""
_SLOWEST = 60.0
"""Seconds that every connection may take for its first request."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a comparison: a case, and how to make the server serve it now.

    ``alone`` is its memory when nothing else is loaded, measured before; ``instances`` is the total of its
    configuration. Objectives that divide by them need them.
    """

    case: Case
    deploy: Callable[[], Deployment]
    alone: Mapping[str, Estimate] = field(default_factory=dict)
    instances: int = 1

    def with_memory(self, measurement: Measurement) -> Measurement:
        """Return the measurement with the memory that it took ``alone``: when others are loaded, that is not known."""
        metrics = {name: measurement.metrics[name] for name in measurement.metrics if name not in MEMORY}
        metrics.update(self.alone)
        return replace(measurement, metrics={name: metrics[name] for name in METRICS if name in metrics})


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
    _usage: list[tuple[ResourceUsage, ResourceUsage]] = field(default_factory=list)
    _cold_start: dict[str, float] = field(default_factory=dict)

    def take_turn(self, bout: Bout, seed: int) -> float:
        """Run one block on fresh connections and return the objective's value; ``seed`` fixes the arrivals.

        Raises what ``measure`` raises.
        """
        case, pace, deployer = self.contender.case, bout.pace, bout.deployer
        deployment = self.contender.deploy()
        verified = deployer.prepare(deployment, case, again=False)
        self._cold_start, self.deployment = deployer.cold_start(deployment), deployment
        seconds = max(pace.seconds, cycle_of(case.load))
        under = under_way(case.load)
        with open_load(
            bout.server, bout.engine, case, deployment, verified, workers=bout.engine.workers or 1, seed=seed
        ) as session:
            session.start()
            before = session.collect(seconds=pace.warmup, requests=under, limit=_SLOWEST)
            counting, used = Counting(bout.server.control, deployment.name, apart=case.beside), self._usage_of(bout)
            requests = max(_TURNS * under, pace.requests, _beyond(bout.by))
            trace = align(_collect(session, seconds, under, requests), before)
            counted, composing = counting.look()
            after = self._usage_of(bout)
            session.stop()
        bout.server.check()
        self._statistics.append(counted)
        self._composing.append(composing)
        self._traces.append(trace)
        if used is not None and after is not None:
            self._usage.append((used, after))
        metrics = measure_trace(
            trace,
            batch_size=case.load.batch_size,
            statistics=counted,
            before=used,
            after=after,
            extras=self._cold_start,
        ).metrics
        value = bout.by.value({**metrics, **self.contender.alone}, self.contender.instances)
        # A block in which nothing was served has the worst value there is.
        return value.value if value is not None else 0.0 if bout.by.better is Better.HIGHER else math.inf

    def _usage_of(self, bout: Bout) -> ResourceUsage | None:
        """Read what the server uses, while that is not known yet or is what contenders are compared by."""
        wanted = len(self._usage) < _LOOKED_AT or any(METRICS[name].needs in _USED for name in bout.by.metrics)
        return bout.server.usage() if wanted else None

    def measurement(self) -> Measurement:
        """Return all blocks taken together, with the memory that the contender takes alone."""
        together = measure_trace(
            merge(self._traces),
            batch_size=self.contender.case.load.batch_size,
            statistics=reduce(ServerStatistics.plus, self._statistics),
            before=ResourceUsage(cpu_seconds=0.0),
            after=_add_up(self._usage),
            extras=self._cold_start,
            composing=add_up(self._composing),
            slo=self.contender.case.slo,
        )
        return self.contender.with_memory(together)


def _collect(session: LoadSession, seconds: float, least: int, wanted: int) -> Trace:
    """Collect for ``seconds`` and ``least`` requests, however long they take, and then for the ``wanted`` ones."""
    trace = session.collect(seconds=seconds, requests=least, limit=max(seconds, _SLOWEST))
    left = _LONGER * seconds - trace.seconds
    if len(trace) >= wanted or left <= 0 or session.hopeless:
        return trace
    return merge([trace, session.collect(seconds=0.001, requests=wanted - len(trace), limit=left)])


def _beyond(by: Objective) -> int:
    """Return how many requests show a percentile that ``by`` is made of."""
    beyond = [1 - (METRICS[name].quantile or 0.0) for name in by.metrics]
    return math.ceil(_BEYOND / min(beyond, default=1.0))


def _add_up(spans: list[tuple[ResourceUsage, ResourceUsage]]) -> ResourceUsage:
    """Return what was used in all spans, as if they followed each other from nothing at 0.

    Other contenders may be loaded at the same time, so that the memory in use belongs to none.
    """
    known = [
        (one.cpu_seconds, other.cpu_seconds)
        for one, other in spans
        if one.cpu_seconds is not None and other.cpu_seconds is not None
    ]
    busy = [each.gpu_utilization for span in spans for each in span if each.gpu_utilization is not None]
    return ResourceUsage(
        cpu_seconds=sum(after - before for before, after in known) if known else None,
        gpu_utilization=sum(busy) / len(busy) if busy else None,
        at_ns=sum(after.at_ns - before.at_ns for before, after in spans),
    )
