"""Candidates whose throughput and latency are formulas of the load, measured with noise: searches without a server."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.metrics import Estimate
from pytest_triton.search.objective import objectives
from pytest_triton.search.probed import Probed
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.settings import Settings
from pytest_triton.search.strategies import Drop, Effort, Probe, Strategy, Trial
from pytest_triton.slo import SLO

MOST_PROBES = 25
"""More than any candidate needs."""
_DEPLOYING = 0.3


@dataclass(frozen=True)
class Surface:
    """Instances that serve batches, each of them in ``base`` + ``each`` seconds per request."""

    id: str
    instances: int = 1
    batch: int = 1
    base: float = 0.004
    each: float = 0.001
    delay: float = 0.0

    def throughput(self, load: Load) -> float:
        if load.open_loop:
            return min(load.rate, self.capacity)
        together = min(self.batch, max(1.0, load.concurrency / self.instances))
        served = min(load.concurrency, self.instances * together)
        return served / (self.base + self.each * together)

    @property
    def capacity(self) -> float:
        return self.instances * self.batch / (self.base + self.each * self.batch)

    def mean(self, load: Load) -> float:
        if load.open_loop:
            return (self.base + self.each) / max(1 - load.rate / self.capacity, 0.001)
        waits = self.delay if load.concurrency < self.instances * self.batch else 0.0
        return load.concurrency / self.throughput(load) + waits

    def best(self, slo: SLO, loads: Iterable[Load]) -> float:
        """Return the largest throughput at a load that keeps the SLO; 0 where none does."""
        kept = [load for load in loads if all(1.2 * self.mean(load) <= bound.limit for bound in slo.bounds)]
        return max(map(self.throughput, kept), default=0.0)


LOADS = [Load(2**step) for step in range(9)]


@dataclass
class Simulation:
    """A search over surfaces by one strategy, on a clock of its own.

    ``noise`` is the standard deviation of a throughput, as a fraction, over one second.
    """

    strategy: Strategy
    seed: int = 0
    limits: Mapping[str, object] = field(default_factory=dict)
    objective: object = "throughput"
    noise: float = 0.03
    seconds: float = 0.0
    probes: int = 0
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.slo = SLO.parse(self.limits)
        self.settings = Settings(objectives(self.objective))

    def search(self, cases: list[tuple[Surface, Load]]) -> list[Result]:
        for place, (surface, load) in enumerate(cases):
            alike = [other for one, other in cases if one == surface]
            self.results.append(self.explore(surface, load, alike, left=len(cases) - place))
        return self.results

    def explore(self, surface: Surface, load: Load, loads: list[Load], *, left: int) -> Result:
        name = f"{surface.id}-{load.concurrency}"
        known = [result for result in self.results if result.id.startswith(f"{surface.id}-")]
        trial = Trial(
            name,
            Case(Candidate("m", {"instance_group.count": surface.instances}), load, slo=self.slo),
            self.settings,
            results=tuple(self.results),
            siblings=known,
            loads=loads,
            left=left,
            instances=surface.instances,
            max_batch_size=surface.batch,
            batching=surface.batch > 1,
            queue_delay=surface.delay,
        )
        blank = Result(name, trial.case.candidate.patch, Status.SKIPPED, load=load, instances=surface.instances)
        step = self.strategy.step(replace(trial, elapsed=self.seconds))
        if not isinstance(step, Probe):
            return replace(blank, status=step.status, reason=step.reason)
        self.seconds += _DEPLOYING
        trial = replace(trial, deployed=True)
        while isinstance(step := self.strategy.step(replace(trial, elapsed=self.seconds)), Probe):
            assert len(trial.probes) < MOST_PROBES, "it does not end"
            trial = replace(trial, probes=(*trial.probes, self.probe(surface, step.load, step.effort)))
        place = -1 if isinstance(step, Drop) else step.probe
        chosen = trial.probes[place]
        return replace(
            blank,
            status=step.status,
            reason=step.reason,
            load=chosen.load,
            metrics=chosen.metrics,
            probes=trial.probes,
        )

    def probe(self, surface: Surface, load: Load, effort: Effort) -> Probed:
        true = surface.throughput(load)
        seconds = min(max(effort.seconds, effort.requests / true), effort.limit)
        self.seconds += effort.warmup + seconds + 0.1
        self.probes += 1
        error = self.noise / seconds**0.5
        values = {"throughput": true, "mean": surface.mean(load), "p99": 1.2 * surface.mean(load)}
        metrics = {name: self._estimate(value, error) for name, value in values.items()}
        if load.open_loop:
            metrics["offered_rate"] = Estimate(load.rate)
        missed = any(metrics[bound.metric.name].low > bound.limit for bound in self.slo.bounds)
        return Probed(load, metrics, "FAIL" if missed else "INCONCLUSIVE" if self.slo.bounds else "PASS")

    def _estimate(self, true: float, error: float) -> Estimate:
        value = true * (1 + self.random.gauss(0, error))
        width = 2.1 * value * error
        return Estimate(value, value - width, value + width)


def winner(results: Iterable[Result], worth: Callable[[Result], float]) -> Result | None:
    """Return the best result that may win."""
    able = [result for result in results if result.status is Status.MEASURED]
    return max(able, key=worth, default=None)
