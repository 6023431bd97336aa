"""The protocol of a measurement: warm up, look, decide, extend, stop. Knows nothing of pytest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_triton.case import Case
from pytest_triton.composing import Counting, is_one_of_several
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.load import WireEngine
from pytest_triton.load.base import Engine, LoadSession
from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.neighbours import Neighbours, add_beside, measure_beside
from pytest_triton.observation import OK, ResourceUsage, Stretch, Trace
from pytest_triton.opening import cycle_of, most_workers, open_load, under_way
from pytest_triton.series import so_far
from pytest_triton.server.base import Server
from pytest_triton.server.gpu_watch import GpuWatch
from pytest_triton.slo import SLO, Bound
from pytest_triton.statistics import steady_start
from pytest_triton.validity import client_share
from pytest_triton.verdict import Outcome, is_out_of_reach, judge, requests_for_first_look
from pytest_triton.verification import Reference
from pytest_triton.windows import merge

_SEVERAL = (
    "several servers share the address, and only one of them has loaded the configuration: name that one's own address"
)
_ROOM_FOR_CLIENT = 0.75
"""Share of a core from which on the load is shared by more processes, if there are cores for them."""
_SLICE = 0.5
"""Seconds between two looks at the server's health and two lines of progress."""
_STRETCH = 0.1
"""Seconds between two readings of the server's statistics, which tell slow moments from others."""
_STRETCHED = 10.0
"""Seconds after which that many are there, and a reading for each slice is enough."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. All in seconds of load, but for the counts.

    The warm-up lasts at least ``warmup`` seconds and ``warmup_requests`` per connection, at most
    ``warmup_limit``. The measurement lasts at least ``seconds`` and ``requests`` requests; without a verdict by
    then it is extended, at most to ``limit``. At 200/s a p95 is looked at twice within 5 s, warm-up included.

    With ``gives_up`` the last look is left out where it would hardly decide (see ``is_out_of_reach``). That makes no
    PASS or FAIL wrong, but may leave one open.
    """

    warmup: float = 1.0
    warmup_requests: int = 10
    warmup_limit: float = 10.0
    seconds: float = 1.8
    requests: int = 60
    limit: float = 60.0
    looks: int = 4
    gives_up: bool = False


SMOKE = Effort(warmup=0.0, warmup_requests=1, warmup_limit=1.0, seconds=0.2, requests=1, limit=2.0, looks=1)
"""Does everything work? Says nothing about speed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher is told while a measurement goes on. ``slo`` is what it will be judged by."""

    phase: str
    elapsed: float
    at_most: float
    requests: int
    throughput: float
    slo: SLO = field(default_factory=SLO)
    traces: Sequence[Trace] = field(default=(), repr=False)

    def bounded(self) -> Iterator[tuple[Bound, float]]:
        """Yield the bounds on single requests with their metrics' values so far, which are computed only now."""
        for bound in self.slo.on().bounds:
            value = so_far(bound.metric, self.traces)
            if value is not None:
                yield bound, value


Watcher = Callable[[Progress], None]


def measure(
    server: Server,
    case: Case,
    engine: Engine | None = None,
    *,
    effort: Effort | None = None,
    deployer: Deployer | None = None,
    deployment: Deployment | None = None,
    reference: Reference | None = None,
    wanted: Collection[str] = (),
    watch: Watcher | None = None,
) -> Measurement:
    """Measure ``case`` on ``server``: deploy its candidate, check its outputs, warm up, measure.

    ``engine`` is the wire engine unless another is given. The candidate is deployed unless ``deployment`` says that
    it is already there. ``reference`` is what the answers must be. The load's concurrency
    must be a number. A clear PASS or FAIL of the case's SLO stops at the first of ``effort.looks`` looks that shows it.
    Of the models under load beside, those ``wanted`` and those that the SLO has bounds on are measured as long.

    Raises ``ServerError`` when the server refuses the candidate, fails the request or dies, ``WrongOutputs``,
    ``InputError``, ``EngineError``. A measurement that is not valid comes back with its ``problems``.
    """
    effort, engine = effort or Effort(), engine or WireEngine()
    deployer = deployer or Deployer(server)
    deployment = deployment or deployer.deploy(case.candidate)
    verified = deployer.prepare(deployment, case, reference)
    of_others = frozenset(wanted) | frozenset(case.slo.models)
    run = _Run(server, case, deployment.name, effort, watch, deployer.count_instances(), of_others)
    workers, most = engine.workers or 1, engine.workers or most_workers()
    while True:
        with open_load(server, engine, case, deployment, verified, workers=workers) as (session, neighbours):
            session.start()
            steady = run.warm_up(session)
            if run.client_share < _ROOM_FOR_CLIENT or workers >= most:
                with GpuWatch(server.gpu_source) as gpus:
                    measurement = run.look(session, neighbours, gpus, deployer.cold_start(deployment))
                session.stop()
                break
        # The client would be what is measured: begin anew with more of them.
        workers = min(2 * workers, most)
    if not steady and not measurement.problems:
        measurement = replace(measurement, unsteady=True)
    return measurement


@dataclass(slots=True)
class _Run:
    """One measurement under way."""

    server: Server
    case: Case
    name: str
    effort: Effort
    watch: Watcher | None
    instances: int
    wanted: frozenset[str] = frozenset()
    """Models under load beside whose figures something depends on."""
    began: float = field(default_factory=time.monotonic)
    warmup_seconds: float = 0.0
    client_share: float = 0.0
    """Share of a core that the busiest process of the load generator used during the warm-up."""
    counting: Counting | None = None
    """What the server counts, from the end of the warm-up on."""
    stretches: list[Stretch] = field(default_factory=list)

    def collect(
        self, session: LoadSession, phase: str, seconds: float, requests: int, limit: float, collected: list[Trace]
    ) -> None:
        """Collect into ``collected`` until it holds ``seconds`` and ``requests``, or ``limit`` seconds have passed."""
        while True:
            held, passed = sum(map(len, collected)), sum(trace.seconds for trace in collected)
            if passed >= limit or (passed >= seconds and held >= requests):
                return
            # A short step while only requests are missing, so that no look comes much later than it could.
            step = min(_SLICE, max(seconds - passed, 0.05), max(limit - passed, 0.001))
            self._collect_slice(session, max(step, session.shortest), collected, passed)
            self.server.check()
            if session.hopeless:
                return
            if self.watch is not None:
                held, passed = sum(map(len, collected)), sum(trace.seconds for trace in collected)
                rate = held * self.case.load.batch_size / passed if passed else 0.0
                elapsed = time.monotonic() - self.began
                self.watch(Progress(phase, elapsed, self.at_most, held, rate, self.case.slo, tuple(collected)))

    def _collect_slice(self, session: LoadSession, seconds: float, collected: list[Trace], passed: float) -> None:
        """Collect once; where it is measured, in stretches with the server's statistics of each."""
        stretched = self.counting is not None and not session.shortest and passed < _STRETCHED
        left = seconds
        while True:
            trace = session.collect(seconds=min(left, _STRETCH) if stretched else left)
            collected.append(trace)
            if self.counting is not None:
                asked = time.monotonic_ns()
                statistics = self.counting.step()
                self.stretches.append(Stretch((asked + time.monotonic_ns()) // 2, statistics))
            # On a busy machine each takes longer than it was asked to.
            left -= trace.seconds
            if not stretched or left < _STRETCH / 2 or session.hopeless:
                return

    def usage(self) -> ResourceUsage:
        """Ask what the server uses; not its memory while instances of another configuration are still ending."""
        usage = self.server.usage()
        return replace(usage, rss=None) if usage.children is not None and usage.children > self.instances else usage

    @property
    def at_most(self) -> float:
        return self.effort.warmup_limit + self.effort.limit

    def warm_up(self, session: LoadSession) -> bool:
        """Send the load until its latency is steady. Return False when it did not become so.

        A load that changes by itself never makes latency steady, and is not waited for.
        """
        effort, traces = self.effort, list[Trace]()
        seconds, requests = effort.warmup, effort.warmup_requests * under_way(self.case.load)
        steady = True
        while True:
            self.collect(session, "warming up", seconds, requests, effort.warmup_limit, traces)
            trace = merge(traces)
            self.warmup_seconds = trace.seconds
            self.client_share = client_share(trace)
            if effort.warmup > 0 and self.case.load.stationary:
                steady = steady_start((trace.done - trace.scheduled) / 1e9) is not None
            if steady or trace.seconds >= effort.warmup_limit or session.hopeless:
                return steady
            seconds, requests = trace.seconds * 1.5, len(trace)

    def look(
        self, session: LoadSession, neighbours: Neighbours, gpus: GpuWatch, extras: Mapping[str, float]
    ) -> Measurement:
        """Measure, judge at the planned looks, stop at the first verdict or at the limit."""
        effort, slo = self.effort, self.case.slo
        counting, usage_before = Counting(self.server.control, self.name, apart=self.case.beside), self.server.usage()
        self.counting = counting
        neighbours.begin()
        traces: list[Trace] = []
        requests = self._requests_for_first_look()
        cycle = cycle_of(self.case.load)
        # Of a load that changes, only whole cycles are measured, each look twice as many as the one before.
        seconds, limit = _whole(effort.seconds, cycle, math.ceil), _whole(effort.limit, cycle, math.floor)
        limit = limit or effort.limit
        for look in range(1, effort.looks + 1):
            last = look == effort.looks and look > 1
            self.collect(session, "measuring", limit if last else seconds, 0 if cycle else requests, limit, traces)
            neighbours.collect()
            if look == 1:
                self._wait_for(neighbours, session, limit, traces)
            counted, composing, apart = counting.look()
            trace = merge(traces)
            several = self.server.kind == "remote" and is_one_of_several(
                counted, [stretch.statistics for stretch in self.stretches], int((trace.status == OK).sum())
            )
            measurement = measure_trace(
                trace,
                batch_size=self.case.load.batch_size,
                statistics=None if several else counted,
                composing={} if several else composing,
                slo=slo.on(),
                before=usage_before,
                after=self.usage(),
                warmup_seconds=self.warmup_seconds,
                extras=extras,
                gpu=gpus.usage(),
            )
            others = measure_beside(neighbours.traces(), apart, self.case.beside, slo)
            measurement = add_beside(measurement, others, self.wanted)
            measurement = replace(measurement, stretches=() if several else tuple(self.stretches))
            if several and self.case.candidate.patch:
                measurement = measurement.add_problem(_SEVERAL)
            measurement = replace(measurement, looks=look, limit=limit if effort.looks > 1 and slo.bounds else 0.0)
            if _settled(measurement, slo) or measurement.seconds >= limit or session.hopeless:
                break
            if effort.gives_up and look == effort.looks - 1 and is_out_of_reach(measurement, slo, limit):
                break
            # The last look waits for all the time there is.
            requests = 2 * measurement.requests
            seconds = 2 * seconds if cycle else effort.seconds
        return measurement

    def _requests_for_first_look(self, model: str = "") -> int:
        bounds = self.case.slo.on(model)
        return max(self.effort.requests, requests_for_first_look(bounds) if self.effort.looks > 1 else 0)

    def _wait_for(self, neighbours: Neighbours, session: LoadSession, limit: float, traces: list[Trace]) -> None:
        """Go on until the models beside whose figures are wanted have answered as often as a first look takes."""
        for model in self.wanted & neighbours.sessions.keys():
            wanted = self._requests_for_first_look(model)
            while (held := neighbours.requests(model)) < wanted and not session.hopeless:
                passed = sum(trace.seconds for trace in traces)
                if passed >= limit:
                    return
                seconds = _whole(
                    min(passed * wanted / max(held, 1), passed + _SLICE), cycle_of(self.case.load), math.ceil
                )
                self.collect(session, "measuring", min(seconds, limit), 0, limit, traces)
                neighbours.collect()


def _whole(seconds: float, cycle: float, towards: Callable[[float], int]) -> float:
    return towards(seconds / cycle) * cycle if cycle else seconds


def _settled(measurement: Measurement, slo: SLO) -> bool:
    # A throttled GPU leaves it open for good: no time makes up for what was measured of it already.
    return judge(replace(measurement, cautions=()), slo).outcome is not Outcome.INCONCLUSIVE
