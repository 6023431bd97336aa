"""A running server with an engine before it: what cases are evaluated on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pytest_triton.case import Case, Load, digest
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.errors import UnusableReference
from pytest_triton.load.base import Engine
from pytest_triton.measurement import Measurement
from pytest_triton.protocol import Effort, Watcher, measure
from pytest_triton.reference import make_reference
from pytest_triton.search.objective import Objective, objective
from pytest_triton.search.probed import Probed
from pytest_triton.search.settings import Settings
from pytest_triton.search.strategies.base import Effort as ProbeEffort
from pytest_triton.search.strategies.climb import Climb, guess_saturation
from pytest_triton.search.strategies.efforts import effort_at
from pytest_triton.server.base import Server
from pytest_triton.sizing import size_of
from pytest_triton.verdict import Verdict, judge
from pytest_triton.verification import Reference

PROBE = Effort(warmup=0.3, warmup_requests=2, warmup_limit=2.0, seconds=0.8, requests=16, limit=4.0, looks=1)
"""The effort of one measurement that only gives an idea."""
THROUGHPUT = objective("throughput")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A case with its load resolved, what was measured and what that says."""

    case: Case
    deployment: Deployment
    measurement: Measurement
    verdict: Verdict


@dataclass(slots=True)
class Bench:
    """A server, an engine, and what is known of the models on it."""

    server: Server
    engine: Engine
    deployer: Deployer = field(init=False)
    _references: dict[str, tuple[Any, Reference | UnusableReference]] = field(default_factory=dict)
    """With what they were made from that is told apart by its identity as long as it lives."""

    def __post_init__(self) -> None:
        self.deployer = Deployer(self.server)

    def reference(self, case: Case, settings: Settings) -> Reference:
        """Return what the answers to the requests of a search's case must be, found out once.

        Raises what ``make_reference`` raises. An ``UnusableReference`` stays one for all candidates of a search.
        """
        inputs = case.inputs
        shapes = {name: list(shape) for name, shape in inputs.shapes.items()}
        drawn = [inputs.seed, inputs.count, inputs.validate, case.load.batch_size, case.load.sequence_length]
        key = digest([case.candidate.model, shapes, *drawn, id(inputs.data), id(settings)])
        _, known = self._references.get(key, (None, None))
        if known is None:
            try:
                known = make_reference(self.deployer, case, settings)
            except UnusableReference as error:
                self._references[key] = (inputs.data, settings), error.told_again()
                raise
            self._references[key] = (inputs.data, settings), known
        if isinstance(known, UnusableReference):
            raise known
        return known

    def evaluate(
        self,
        case: Case,
        effort: Effort,
        *,
        reference: Reference | None = None,
        watch: Watcher | None = None,
    ) -> Evaluation:
        """Deploy, find the load if it is ``auto``, measure and judge. Raises what ``measure`` raises."""
        self.deployer.keep_only(case.candidate)
        deployment = self.deployer.deploy(case.candidate)
        if "auto" in (case.load.concurrency, case.load.rate):
            case = self.find_load(case, deployment, effort, reference=reference, watch=watch)
        measurement = self.measure(case, deployment, effort, reference=reference, watch=watch)
        return Evaluation(case, deployment, measurement, judge(measurement, case.slo))

    def find_load(
        self,
        case: Case,
        deployment: Deployment,
        effort: Effort,
        *,
        by: Objective = THROUGHPUT,
        reference: Reference | None = None,
        watch: Watcher | None = None,
    ) -> Case:
        """Return the case with the load that serves ``by`` best within the SLO, where its own is ``auto``.

        It is looked for with short probes, which are no longer than ``effort``.
        """
        size = size_of(deployment.configuration, self.deployer.steps(case.candidate))
        saturation = guess_saturation(size.instances, size.max_batch_size, case.load.batch_size, batching=size.batching)
        climb = Climb(case.load, case.slo, by, saturation, size.queue_delay, size.instances)
        probes: list[Probed] = []
        while (load := climb.next(probes)) is not None:
            point = replace(case, load=load)
            short = _at_most(probe_effort(effort_at(load)), effort)
            measurement = self.measure(point, deployment, short, by=[by], reference=reference, watch=watch)
            probes.append(probed(load, measurement, judge(measurement, case.slo)))
        return replace(case, load=probes[climb.choose(probes)].load)

    def measure(
        self,
        case: Case,
        deployment: Deployment,
        effort: Effort,
        *,
        by: Iterable[Objective] = (),
        reference: Reference | None = None,
        watch: Watcher | None = None,
    ) -> Measurement:
        """Measure a case whose candidate is deployed already, as it takes for its SLO and the objectives ``by``.

        Raises what ``protocol.measure`` raises.
        """
        return measure(
            self.server,
            case,
            self.engine,
            effort=effort,
            deployer=self.deployer,
            deployment=deployment,
            reference=reference,
            wanted=[model for each in by for model in each.models],
            watch=watch,
        )


def probed(load: Load, measurement: Measurement, verdict: Verdict) -> Probed:
    """Return what a measurement at ``load`` showed to whoever looks for the best one."""
    return Probed(load, measurement.metrics, verdict.outcome.value, verdict.reason, measurement.requests)


def probe_effort(effort: ProbeEffort) -> Effort:
    """Return what a strategy's effort means to a measurement: one look, after a short warm-up."""
    return Effort(
        warmup=effort.warmup,
        warmup_requests=1,
        warmup_limit=max(effort.limit / 2, effort.warmup),
        seconds=effort.seconds,
        requests=effort.requests,
        limit=effort.limit,
        looks=1,
    )


def _at_most(effort: Effort, other: Effort) -> Effort:
    """Bound ``effort`` by another one, field by field."""
    return Effort(**{each.name: min(getattr(effort, each.name), getattr(other, each.name)) for each in fields(Effort)})
