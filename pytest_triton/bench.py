"""A running server with an engine before it: what cases are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pytest_triton.case import Case, digest
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.errors import UnusableReference
from pytest_triton.load.base import Engine
from pytest_triton.measurement import Measurement
from pytest_triton.protocol import Effort, Watcher, measure
from pytest_triton.reference import make_reference
from pytest_triton.saturation import find_concurrency
from pytest_triton.search.settings import Settings
from pytest_triton.server.base import Server
from pytest_triton.verdict import Verdict, judge
from pytest_triton.verification import Reference

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
