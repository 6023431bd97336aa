"""From the axes of ``triton_search`` to the space of a search, with what config.pbtxt says about it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import AxisError, ConfigurationError, nearest
from pytest_triton.repository.backend import backend_of
from pytest_triton.repository.configuration import read
from pytest_triton.repository.fields import ALIASES
from pytest_triton.repository.layout import CONFIGURATION, models
from pytest_triton.repository.patch import apply, problem
from pytest_triton.search.axes import Axis, read_axes
from pytest_triton.search.default_space import Model, default_axes, is_idle
from pytest_triton.search.named import are_named, read_named
from pytest_triton.search.names import LOAD_AXES, Reader, other_model
from pytest_triton.search.space import Expansion, Space, SpacePoint

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from pytest_triton.plugin.search_marker import SearchWish

_UNKNOWN = 2**31 - 1
"""Stands for a max_batch_size that Triton may yet complete, so that no batch is refused as too large."""
_TELLING = (
    "max_batch_size",
    "dynamic_batching",
    "sequence_batching",
    "instance_group",
    "response_cache",
    "model_transaction_policy",
)
"""Fields that ``repository.patch.problem`` looks at."""
_ANY_VALUE = ("instance_group.count", "dynamic_batching.max_queue_delay_microseconds")
"""Paths inside them whose values it does not look at."""


@dataclass(frozen=True, slots=True)
class Found:
    """A space with what is to be said of it. ``named`` are candidates given whole, in place of axes."""

    space: Space
    named: tuple[SpacePoint, ...] = ()
    note: str = ""

    def expand(self) -> Expansion:
        """Return the candidates. Raises ``AxisError``."""
        return Expansion(self.named, {}) if self.named else self.space.expand()


def find_space(
    wish: SearchWish,
    loads: Mapping[str, Sequence[Any]],
    reader: Reader,
    *,
    model: str,
    repository: Path | None,
    batch_size: int,
    cores: int | None = None,
) -> Found:
    """Read the axes, those of ``loads`` beside them, or make the default ones.

    ``repository`` is None where it is not known, or not the server's. ``batch_size`` is what the load says outside of
    the axes. Raises ``AxisError`` and ``ConfigurationError``.
    """
    config = _configuration(repository, model, needed=wish.axes is None)
    if wish.axes is not None and are_named(wish.axes):
        return _named(wish, loads, reader, model, repository, Refusals(config, batch_size))
    facts = None
    if wish.axes is None:
        facts = _facts(model, config, repository, cores or len(os.sched_getaffinity(0)))
    axes: dict[Any, Any] = dict(wish.axes or {}) if facts is None else {**default_axes(facts)}
    for name, values in loads.items():
        axes.setdefault(name, values)
    read_ones = read_axes(axes, reader)
    _check_models({axis.path for axis in read_ones}, model, repository)
    refuse = Refusals(config, batch_size) if any(_may_be_refused(axis) for axis in read_ones) else None
    idle = functools.partial(is_idle, facts) if facts is not None else None
    space = Space(read_ones, wish.exclude, refuse, _names(read_ones), idle)
    return Found(space, note=_describe(read_ones) if facts is not None else "")


def _named(
    wish: SearchWish,
    loads: Mapping[str, Sequence[Any]],
    reader: Reader,
    model: str,
    repository: Path | None,
    refuse: Refusals,
) -> Found:
    assert wish.axes is not None
    if wish.exclude is not None:
        raise AxisError("exclude= beside candidates given whole", hint="Leave out those that are not meant.")
    if loads:
        field_, values = next(iter(loads.items()))
        raise AxisError(
            f"triton_load({field_}={list(values)}) beside candidates given whole",
            hint=f"Write one value there, or give each candidate its own: {{'small': {{{field_!r}: {values[0]!r}}}}}.",
        )
    points = read_named(wish.axes, reader)
    _check_models({f"{other}:" for point in points for other in point.composing}, model, repository)
    for point in points:
        if reason := refuse(point):
            raise AxisError(f"candidate {point.id!r}: Triton would refuse it: {reason}", hint="Change it, or drop it.")
    return Found(Space(()), points)


def _names(axes: Sequence[Axis]) -> dict[str, str]:
    """Map the paths and aliases of axes to the names that the user has for them."""
    names = {axis.path: axis.name for axis in axes}
    return names | {alias: names[path] for alias, path in ALIASES.items() if path in names}


def _check_models(paths: set[str], model: str, repository: Path | None) -> None:
    """Raise ``AxisError`` for an axis on another model that the repository does not have."""
    others = {other for path in paths if (other := other_model(path))}
    if model in others:
        raise AxisError(f"{model}: is the model of the search itself", hint="Name its fields without the model.")
    if not others or repository is None or not repository.is_dir():
        return
    known = [folder.name for folder in models(repository)]
    for other in sorted(others):
        if other not in known:
            raise AxisError(f"the repository {repository} has no model {other!r}", hint=nearest(other, known))


def _may_be_refused(axis: Axis) -> bool:
    return axis.path == "batch_size" or axis.path.partition(".")[0] in _TELLING


def _configuration(repository: Path | None, model: str, *, needed: bool) -> ModelConfig | None:
    """Read a model's config.pbtxt, where it has one. Whether it can be read is told when it is served, if not now."""
    path = repository / model / CONFIGURATION if repository is not None else None
    if path is None or not path.is_file():
        return None
    try:
        return read(path)
    except ConfigurationError:
        if needed:
            raise
        return None


@dataclass(slots=True)
class Refusals:
    """Says why Triton would refuse a point whatever the model's files are, by config.pbtxt and the patch alone."""

    config: ModelConfig | None
    batch_size: int
    _known: dict[str, tuple[str | None, int]] = field(default_factory=dict)

    def __call__(self, point: SpacePoint) -> str | None:
        """Return the reason, or None."""
        patch = {path: value for path, value in point.patch.items() if path.partition(".")[0] in _TELLING}
        key = repr([(path, value is None if path in _ANY_VALUE else value) for path, value in sorted(patch.items())])
        if key not in self._known:
            self._known[key] = self._judge(patch)
        reason, largest = self._known[key]
        batch_size = point.load.get("batch_size", self.batch_size)
        if reason is None and batch_size > largest:
            return f"requests of batch_size {batch_size}, more than max_batch_size {largest}"
        return reason

    def _judge(self, patch: Mapping[str, Any]) -> tuple[str | None, int]:
        """Return the reason, and the largest batch."""
        from tritonclient.grpc.model_config_pb2 import ModelConfig

        try:
            wanted = apply(self.config if self.config is not None else ModelConfig(), patch)
        except AxisError as error:
            return error.problem, _UNKNOWN
        if wanted.max_batch_size == 0:
            wanted.max_batch_size = _UNKNOWN
        return problem(wanted), wanted.max_batch_size


def _facts(model: str, config: ModelConfig | None, repository: Path | None, cores: int) -> Model:
    # Without a repository at hand there is no configuration, either.
    backend = backend_of(repository / model, config) if repository is not None else ""
    if config is None:
        return Model(backend, cores=cores)
    scheduler = config.WhichOneof("scheduling_choice")
    if scheduler == "ensemble_scheduling":
        inner = next((step.model_name for step in config.ensemble_scheduling.step), "model")
        raise AxisError(
            f"{model} is an ensemble, which has nothing of its own to vary",
            hint=f"Name axes on its models, as in {{'{inner}:instance_group.count': [1, 2]}}.",
        )
    batching = config.dynamic_batching
    return Model(
        backend,
        config.max_batch_size,
        gpu=any(type(group).Kind.Name(group.kind) == "KIND_GPU" for group in config.instance_group),
        scheduled=scheduler not in (None, "dynamic_batching"),
        policies=bool(
            batching.preserve_ordering
            or batching.priority_levels
            or batching.HasField("default_queue_policy")
            or batching.priority_queue_policy
        ),
        accelerated=config.optimization.HasField("execution_accelerators"),
        cores=cores,
    )


def _describe(axes: Sequence[Axis]) -> str:
    """Say what a default space is made of."""
    told = [f"{axis.name} ({', '.join(axis.labels)})" for axis in axes if axis.path not in LOAD_AXES]
    return f"the default space: {', '.join(told)}"
