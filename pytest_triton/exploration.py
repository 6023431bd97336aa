"""One candidate of a search: deployed once, probed as its strategy wants it. Knows nothing of pytest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_triton.bench import Bench, Evaluation, probe_effort, probed
from pytest_triton.case import Candidate
from pytest_triton.deployment import Deployment, patched
from pytest_triton.errors import MeasurementError
from pytest_triton.measurement import Measurement
from pytest_triton.protocol import Watcher
from pytest_triton.search.probed import Probed
from pytest_triton.search.selection import Status
from pytest_triton.search.strategies.base import Drop, Keep, Probe, Strategy, Trial
from pytest_triton.sizing import size_of
from pytest_triton.switching import count_instances
from pytest_triton.verdict import Verdict, judge
from pytest_triton.verification import Reference

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

MOST_PROBES = 60
"""More than any strategy of ours needs; one that wants more does not end."""


@dataclass(frozen=True, slots=True)
class Explored:
    """What became of a candidate, and why.

    ``evaluation`` is of the probe that stands for it, None where it was not probed at its own load; ``probes`` are all
    of them, at whatever load.
    ``instances`` is the total of its instance groups.
    """

    status: Status
    reason: str
    evaluation: Evaluation | None = None
    probes: tuple[Probed, ...] = ()
    instances: int = 0


def explore(
    bench: Bench,
    trial: Trial,
    strategy: Strategy,
    *,
    reference: Reference | None = None,
    watch: Watcher | None = None,
) -> Explored:
    """Measure a candidate as far as ``strategy`` wants it. Raises what ``deploy`` and ``measure`` raise."""
    run = _Exploration(bench, trial, strategy, reference, watch)
    return run.go()


@dataclass(slots=True)
class _Exploration:
    """One candidate under way."""

    bench: Bench
    trial: Trial
    strategy: Strategy
    reference: Reference | None
    watch: Watcher | None

    def go(self) -> Explored:
        began, before = time.monotonic(), self.trial.elapsed
        candidate = self.trial.case.candidate
        wanted = patched(self.bench.deployer.default(candidate.model), candidate.patch)
        self._size(wanted, deployed=False)
        step = self.strategy.step(self.trial)
        if not isinstance(step, Probe):
            return Explored(step.status, step.reason)
        deployment = self._deploy(candidate)
        self._size(deployment.configuration, deployed=True)
        done: list[tuple[Measurement, Verdict]] = []
        while True:
            self.trial = replace(self.trial, elapsed=before + time.monotonic() - began)
            step = self.strategy.step(self.trial)
            if not isinstance(step, Probe):
                return self._end(step, deployment, done)
            if len(done) == MOST_PROBES:
                raise MeasurementError(
                    f"the strategy {self.strategy.name} still wants more after {MOST_PROBES} probes of one candidate",
                    configuration=self.trial.id,
                    hint="It must end: its step() has to return Keep or Drop.",
                )
            done.append(self._probe(step, deployment))

    def _size(self, configuration: ModelConfig, *, deployed: bool) -> None:
        size = size_of(configuration, self.bench.deployer.steps(self.trial.case.candidate))
        self.trial = replace(
            self.trial,
            instances=size.instances,
            max_batch_size=size.max_batch_size,
            batching=size.batching,
            queue_delay=size.queue_delay,
            deployed=deployed,
        )

    def _deploy(self, candidate: Candidate) -> Deployment:
        settings = self.trial.settings
        self.bench.deployer.keep_only(candidate)
        return self.bench.deployer.deploy(
            candidate, unload_first=settings.unload_first, fresh=settings.restart == "candidate"
        )

    def _probe(self, step: Probe, deployment: Deployment) -> tuple[Measurement, Verdict]:
        case = replace(self.trial.case, load=step.load)
        measurement = self.bench.measure(
            case,
            deployment,
            probe_effort(step.effort),
            by=self.trial.settings.objectives,
            reference=self.reference,
            watch=self.watch,
        )
        verdict = judge(measurement, case.slo)
        self.trial = replace(self.trial, probes=(*self.trial.probes, probed(step.load, measurement, verdict)))
        return measurement, verdict

    def _end(self, step: Drop | Keep, deployment: Deployment, done: list[tuple[Measurement, Verdict]]) -> Explored:
        probes = tuple(self.trial.probes)
        place = step.probe if isinstance(step, Keep) else -1
        if not done:
            return Explored(step.status, step.reason)
        measurement, verdict = done[place]
        declared, instances = self.trial.case.load, count_instances(deployment.configuration)
        if isinstance(step, Drop) and "auto" not in (declared.concurrency, declared.rate):
            # Another load has shown that its own is not worth a probe; figures of that one are not its own.
            return Explored(step.status, step.reason, probes=probes, instances=instances)
        case = replace(self.trial.case, load=probes[place].load)
        return Explored(
            step.status,
            step.reason,
            Evaluation(case, deployment, measurement, verdict),
            probes,
            instances,
        )
