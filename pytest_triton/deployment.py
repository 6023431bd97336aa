"""A candidate's way onto a warm server: load, read back, check its outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_triton.case import Candidate, Inputs, Value
from pytest_triton.correctness import find_difference, find_empty, find_misfit
from pytest_triton.errors import MeasurementError, ModelLoadError
from pytest_triton.load.base import Request
from pytest_triton.load.inputs import make_request
from pytest_triton.repository.difference import unapplied
from pytest_triton.repository.patch import apply, problem
from pytest_triton.server.base import Server

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig


class WrongOutputs(MeasurementError):
    """A configuration answers with other outputs than the reference."""


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


@dataclass(slots=True)
class Deployer:
    """Puts candidates onto one running server and remembers what is there."""

    server: Server
    _defaults: dict[str, ModelConfig] = field(default_factory=dict)
    _there: dict[str, tuple[ModelConfig, Deployment]] = field(default_factory=dict)
    _cold: dict[str, dict[str, float]] = field(default_factory=dict)

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
        if self._there.pop(name, None) is not None:
            self.server.control.unload(name)

    def request(self, deployment: Deployment, inputs: Inputs, batch_size: int) -> Request:
        """Make the request that measures ``deployment``; the same inputs for every candidate of a model."""
        configuration = deployment.configuration
        return make_request(
            self.server.control.metadata(deployment.name),
            max_batch_size=configuration.max_batch_size,
            inputs=inputs,
            batch_size=batch_size,
            model=deployment.name,
            optional={i.name for i in configuration.input if i.optional},
        )

    def verify(
        self, deployment: Deployment, request: Request, reference: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Send ``request`` once, check the answer and return its outputs.

        Raises ``RequestError`` when the model fails, ``WrongOutputs`` when an output is empty, has another
        shape than is declared, or differs from ``reference``.
        """
        began = time.monotonic()
        outputs = self.server.control.infer(deployment.name, request.inputs, request.datatypes)
        cold = self._cold[deployment.name]
        if "load_time" in cold:
            cold.setdefault("first_request_latency", time.monotonic() - began)
        metadata = self.server.control.metadata(deployment.name)
        wrong = find_empty(outputs) or find_misfit(outputs, metadata)
        wrong = wrong or (find_difference(outputs, reference) if reference is not None else None)
        if wrong:
            raise WrongOutputs(
                f"{deployment.candidate.model}: wrong outputs: {wrong}",
                model=deployment.candidate.model,
                hint="A configuration that answers wrongly is disqualified however fast it is.",
            )
        return outputs

    def cold_start(self, deployment: Deployment) -> dict[str, float]:
        """Return how the deployment began, in seconds: its ``load_time`` and its ``first_request_latency``."""
        return dict(self._cold[deployment.name])
