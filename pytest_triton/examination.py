"""Does a model work at all? It is loaded as it is, what Triton completed is read back, and one request is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.repository.backend import backend_of
from pytest_triton.repository.configuration import normalise, read
from pytest_triton.repository.layout import ModelFolder, find_model
from pytest_triton.server.embedded.missing import embedded_backends

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class Backend:
    """What a model needs to be served. ``missing`` says what of it the embedded server lacks; empty for nothing."""

    name: str
    missing: str = ""

    @property
    def servers(self) -> tuple[str, ...]:
        """The kinds of servers that can serve the model: a running one stands for any that has its backend."""
        others = ("local", "docker", "running")
        return others if self.missing else ("embedded", *others)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that was loaded as it is, in ``seconds``; None where a running server had it already.

    ``completed`` are the fields that Triton filled in or changed, each on a line.
    """

    deployment: Deployment
    completed: tuple[str, ...]
    seconds: float | None

    @property
    def inputs(self) -> frozenset[str]:
        """The names of its inputs."""
        return frozenset(tensor.name for tensor in self.deployment.configuration.input)

    def assume(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Return shapes for the inputs with free sizes that are not among ``shapes``: 1 for each of these."""
        return {
            tensor.name: tuple(1 if size < 0 else int(size) for size in tensor.dims)
            for tensor in self.deployment.configuration.input
            if tensor.name not in shapes and not tensor.optional and any(size < 0 for size in tensor.dims)
        }


def find_backend(folder: ModelFolder) -> Backend:
    """Say what a model needs, from its folder alone. Raises ``RepositoryError`` when it cannot be read."""
    written = _read(folder)
    if written is not None and written.ensemble_scheduling.step:
        return _ensemble(folder, written)
    name = backend_of(folder.path, written)
    if not name:
        return Backend("unknown", "nothing in its folder says which backend serves it")
    own = any(folder.path.rglob(f"libtriton_{name}.so")) or name in embedded_backends()
    return Backend(name, "" if own else f"it has no backend {name!r}")


def _ensemble(folder: ModelFolder, written: ModelConfig) -> Backend:
    for step in written.ensemble_scheduling.step:
        needs = find_backend(find_model(folder.path.parent, step.model_name))
        if needs.missing:
            return Backend(ENSEMBLE, f"{step.model_name}: {needs.missing}")
    return Backend(ENSEMBLE)


def load(deployer: Deployer, folder: ModelFolder) -> Loaded:
    """Load a model as its folder has it. Raises ``ServerError`` when the server refuses it."""
    written = _read(folder)
    deployment = deployer.deploy(Candidate(folder.name))
    seconds = deployer.cold_start(deployment).get("load_time")
    return Loaded(deployment, tuple(_completed(written, deployment.configuration)), seconds)


def ask(deployer: Deployer, loaded: Loaded, shapes: Mapping[str, Sequence[int]]) -> float | None:
    """Send a random request, its inputs by ``shapes`` as far as they are this model's.

    Returns the seconds it took; None where a decoupled model cannot be asked. Raises ``ServerError``, ``InputError`` or
    ``MeasurementError`` when the model does not answer as it should.
    """
    own = {name: tuple(shape) for name, shape in shapes.items() if name in loaded.inputs}
    case = Case(loaded.deployment.candidate, Load(), Inputs(own))
    return deployer.prepare(loaded.deployment, case).first_seconds


def _read(folder: ModelFolder) -> ModelConfig | None:
    return read(folder.configuration) if folder.configuration is not None else None


def _completed(written: ModelConfig | None, applied: ModelConfig) -> Iterator[str]:
    """Say in which of the fields that matter for requests and speed the applied configuration differs."""
    before = _facts(written) if written is not None else {}
    after = _facts(applied)
    for name in {**before, **after}:
        old, new = before.get(name, "not set"), after.get(name, "not set")
        if old != new:
            yield f"{name}: {old} -> {new}"


def _facts(configuration: ModelConfig) -> dict[str, str]:
    """Return what matters of a configuration by name, as text; what is not set is left out."""
    from tritonclient.grpc import model_config_pb2 as pb

    facts = {"backend": normalise(configuration).backend} if normalise(configuration).backend else {}
    if configuration.max_batch_size:
        facts["max_batch_size"] = str(configuration.max_batch_size)
    for kind, tensors in (("input", configuration.input), ("output", configuration.output)):
        for tensor in tensors:
            datatype = pb.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            facts[f"{kind} {tensor.name}"] = f"{datatype} {list(tensor.dims)}"
    if configuration.HasField("dynamic_batching"):
        batching = configuration.dynamic_batching
        facts["dynamic_batching"] = f"preferred sizes {list(batching.preferred_batch_size)}"
    instances = [
        f"{max(group.count, 1)} x {pb.ModelInstanceGroup.Kind.Name(group.kind)}"
        for group in configuration.instance_group
    ]
    if instances:
        facts["instance_group"] = ", ".join(instances)
    return facts
