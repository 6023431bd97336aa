"""A running server with an engine before it: what cases are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pytest_triton.case import Candidate, Case, digest
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.load.base import Engine
from pytest_triton.measurement import Measurement
from pytest_triton.protocol import Effort, Watcher, measure
from pytest_triton.saturation import find_concurrency
from pytest_triton.server.base import Server
from pytest_triton.verdict import Verdict, judge
from pytest_triton.verification import Answers

PROBE = Effort(warmup=0.3, warmup_requests=2, warmup_limit=2.0, seconds=0.8, requests=16, limit=4.0, looks=1)
"""The effort of one point while a load is looked for."""


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
    _references: dict[str, tuple[Any, Answers]] = field(default_factory=dict)
    """With the data they were made from, which is told apart by its identity as long as it lives."""

    def __post_init__(self) -> None:
        self.deployer = Deployer(self.server)

    def reference(self, case: Case) -> Answers:
        """Return what the default configuration answers to the case's requests, by their index."""
        inputs = case.inputs
        shapes = {name: list(shape) for name, shape in inputs.shapes.items()}
        drawn = [inputs.seed, inputs.count, inputs.validate, case.load.batch_size, case.load.sequence_length]
        key = digest([case.candidate.model, shapes, *drawn, id(inputs.data)])
        if key not in self._references:
            deployment = self.deployer.deploy(Candidate(case.candidate.model))
            self._references[key] = inputs.data, self.deployer.prepare(deployment, case).answers
        return self._references[key][1]

    def evaluate(
        self,
        case: Case,
        effort: Effort,
        *,
        reference: Answers | None = None,
        watch: Watcher | None = None,
    ) -> Evaluation:
        """Deploy, find the load if it is ``auto``, measure and judge. Raises what ``measure`` raises."""
        self.deployer.keep_only(case.candidate.model)
        deployment = self.deployer.deploy(case.candidate)

        def run(point: Case, with_effort: Effort) -> Measurement:
            return measure(
                self.server,
                point,
                self.engine,
                effort=with_effort,
                deployer=self.deployer,
                deployment=deployment,
                reference=reference,
                watch=watch,
            )

        if case.load.concurrency == "auto":
            probe = replace(effort, looks=1, **_smaller(effort))
            case, _ = find_concurrency(case, lambda point: run(point, probe))
        measurement = run(case, effort)
        return Evaluation(case, deployment, measurement, judge(measurement, case.slo))


def _smaller(effort: Effort) -> dict[str, Any]:
    """Bound ``effort`` by the probe's, field by field."""
    names = ("warmup", "warmup_requests", "warmup_limit", "seconds", "requests", "limit")
    return {name: min(getattr(effort, name), getattr(PROBE, name)) for name in names}
