"""A candidate's way onto a warm server: load, read back, check its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_triton.case import Candidate, Case, Inputs, Value
from pytest_triton.errors import MeasurementError, ModelLoadError
from pytest_triton.load.base import RequestSet
from pytest_triton.load.inputs import make_requests
from pytest_triton.repository.difference import unapplied
from pytest_triton.repository.patch import apply, problem
from pytest_triton.server.base import Server
from pytest_triton.verification import AT_MOST, Reference, Verification, Verified, takes_sequences

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class Deployment:
    """A candidate as the server has it now.

    ``name`` is what it is called there (an alias, perhaps).
    """

    candidate: Candidate
    name: str
    configuration: ModelConfig


def patched(default: ModelConfig, patch: Mapping[str, Value]) -> ModelConfig:
    """Return ``default``, as Triton completed it, with ``patch``.

    Triton fills in the largest batch as the preferred one; with another largest batch that would be refused.
    """
    wanted = apply(default, patch)
    batching = wanted.dynamic_batching
    if (
        "max_batch_size" in patch
        and wanted.HasField("dynamic_batching")
        and not any(path.startswith("dynamic_batching") for path in patch)
        and list(batching.preferred_batch_size) == [default.max_batch_size]
    ):
        batching.ClearField("preferred_batch_size")
    return wanted


def count_instances(configuration: ModelConfig) -> int:
    """Add up the instances of all groups of a configuration that a server applied."""
    return sum(max(group.count, 1) * max(len(group.gpus), 1) for group in configuration.instance_group)


@dataclass(frozen=True, slots=True)
class _Known:
    """For what a deployment's answers were looked at, and what came of it."""

    inputs: Inputs
    batch_size: int
    sequences: bool
    reference: Reference | None
    verified: Verified

    def covers(self, inputs: Inputs, batch_size: int, sequences: bool, reference: Reference | None) -> bool:
        # Data may be arrays or code, which have no useful equality.
        same = self.inputs is inputs and self.reference is reference
        return same and (self.batch_size, self.sequences) == (batch_size, sequences)


@dataclass(slots=True)
class Deployer:
    """Puts candidates onto one running server and remembers what is there."""

    server: Server
    _defaults: dict[str, ModelConfig] = field(default_factory=dict)
    _there: dict[str, tuple[ModelConfig, Deployment]] = field(default_factory=dict)
    _cold: dict[str, dict[str, float]] = field(default_factory=dict)
    _known: dict[str, _Known] = field(default_factory=dict)

    def default(self, model: str) -> ModelConfig:
        """Return the model's own configuration, completed by Triton; loads the model the first time."""
        if model not in self._defaults:
            if self.server.kind == "remote" and self.server.control.model_ready(model):
                self._adopt(model)
            else:
                self._load(Candidate(model), model, None)
        return self._defaults[model]

    def _adopt(self, model: str) -> None:
        """Take what a server that is not ours serves already: it may not let us load, and others may be using it."""
        applied = self.server.control.configuration(model)
        self._defaults[model], self._cold[model] = applied, {}
        self._there[model] = applied, Deployment(Candidate(model), model, applied)

    def deploy(self, candidate: Candidate, *, name: str = "") -> Deployment:
        """Make the server serve ``candidate`` under ``name`` (its own by default) and read the result back.

        Raises ``ModelLoadError`` with Triton's reason when it refuses, ``MeasurementError`` when it serves
        something else than what was asked for.
        """
        name = name or candidate.model
        wanted = patched(self.default(candidate.model), candidate.patch)
        wanted.name = name
        there = self._there.get(name)
        if there is not None and there[0] == wanted:
            return replace(there[1], candidate=candidate)
        refusal = problem(wanted)
        if refusal:
            raise ModelLoadError(f"{candidate.model}: {refusal}", model=candidate.model, reason=refusal)
        return self._load(candidate, name, wanted)

    def _load(self, candidate: Candidate, name: str, wanted: ModelConfig | None) -> Deployment:
        """Load, and read back what the server made of it. Without ``wanted`` it goes by the model's own folder.

        That is done once only: a later load without a configuration leaves one that was given in between in place,
        because the folder has not changed.
        """
        control = self.server.control
        self._there.pop(name, None)
        self._known.pop(name, None)
        self._cold[name] = {"load_time": control.load(name, wanted)}
        applied = control.configuration(name)
        if wanted is None:
            self._defaults[name] = applied
        else:
            gaps = unapplied(wanted, applied, candidate.patch)
            if gaps:
                raise MeasurementError(
                    f"{candidate.model}: the server does not serve the configuration that was asked for",
                    model=candidate.model,
                    details=[str(gap) for gap in gaps],
                    hint="Triton, or the backend's auto-complete, changed it; drop the axis or the value.",
                )
        deployment = Deployment(candidate, name, applied)
        self._there[name] = (applied if wanted is None else wanted, deployment)
        return deployment

    def keep_only(self, model: str) -> None:
        """Unload the other models that were deployed here: idle, they would still count as memory in use."""
        for name in [name for name, (_, there) in self._there.items() if there.candidate.model != model]:
            self.remove(name)

    def count_instances(self) -> int:
        """Count the instances of everything that is deployed."""
        return sum(count_instances(deployment.configuration) for _, deployment in self._there.values())

    def remove(self, name: str) -> None:
        """Unload what is served under ``name``."""
        self._known.pop(name, None)
        if self._there.pop(name, None) is not None:
            self.server.control.unload(name)

    def prepare(self, deployment: Deployment, case: Case, reference: Reference | None = None) -> Verified:
        """Make the requests of ``case`` and check the answers to them; the same inputs for every candidate of a model.

        What has been checked already is made no second time, and one request is sent to see that it is still answered.
        Raises ``InputError`` when the requests cannot be made, and what ``Verification.verify`` raises.
        """
        name, inputs, batch_size = deployment.name, case.inputs, case.load.batch_size
        sequences = case.load.sequence_length is not None or takes_sequences(deployment.configuration)
        verification = Verification(
            self.server,
            name,
            deployment.candidate.model,
            deployment.configuration,
            sequences=sequences,
            validate=inputs.validate,
            reference=reference,
        )
        known = self._known.get(name)
        if known is not None and known.covers(inputs, batch_size, sequences, reference):
            replace(verification, validate="none").verify(known.verified.requests, at_most=1)
            return known.verified
        verified = verification.verify(self._make_requests(deployment, inputs, batch_size), at_most=AT_MOST)
        if "load_time" in self._cold[name] and verified.first_seconds is not None:
            self._cold[name].setdefault("first_request_latency", verified.first_seconds)
        self._known[name] = _Known(inputs, batch_size, sequences, reference, verified)
        return verified

    def _make_requests(self, deployment: Deployment, inputs: Inputs, batch_size: int) -> RequestSet:
        configuration = deployment.configuration
        return make_requests(
            self.server.control.metadata(deployment.name),
            max_batch_size=configuration.max_batch_size,
            inputs=inputs,
            batch_size=batch_size,
            model=deployment.name,
            optional={i.name for i in configuration.input if i.optional},
        )

    def cold_start(self, deployment: Deployment) -> dict[str, float]:
        """Return how the deployment began, in seconds: its ``load_time`` and its ``first_request_latency``."""
        return dict(self._cold[deployment.name])
