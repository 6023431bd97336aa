"""Axes to the points of a search: every combination of their values, in the order they are best visited."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.case import Load, Value
from pytest_triton.errors import AxisError, UsageError
from pytest_triton.search.labels import label_axes

LOAD_AXES = tuple(field.name for field in dataclasses.fields(Load))
MOST_POINTS = 10_000
"""A space with more points than this is refused: it would take days, and pytest collects each point as a test."""

# What Triton changes without loading the model again (TritonModel::UpdateInstanceGroup in its core).
_IN_PLACE = ("instance_group", "version_policy")


@dataclass(frozen=True, slots=True)
class SpacePoint:
    """One combination: a configuration patch by canonical path, fields of the load, and a readable id."""

    id: str
    patch: Mapping[str, Value]
    load: Mapping[str, Any]


def expand(
    axes: Mapping[str, object],
    canonical_path: Callable[[str], str],
    canonical_value: Callable[[str, object], Value],
    read_load: Callable[[str, Any], Any],
) -> list[SpacePoint]:
    """Return every combination of the axes' values.

    An axis is a path or alias of ``ModelConfig`` (which ``canonical_path`` and ``canonical_value`` check) or a field
    of the load (which ``read_load`` checks and reads), with the list of its values. Points that differ in the load
    alone come next to each other, then those that differ in what Triton changes in place; otherwise the order is the
    declared one, as it is in the ids. Where an outer field is removed (``dynamic_batching: None``) the axes inside it
    mean nothing, so there is one point for all their values.

    Raises ``AxisError`` naming the axis, the value, and what is possible.
    """
    if not axes:
        raise AxisError("the search has no axis", hint="Name one: {'instance_group.count': [1, 2]}.")
    checked: dict[str, list[Any]] = {}
    for name, values in axes.items():
        path = name if name in LOAD_AXES else _canonical(name, canonical_path)
        if path in checked:
            raise AxisError(f"{path} is an axis twice, the second time as {name!r}", hint="Join their values.")
        checked[path] = _check_values(name, path, values, canonical_value, read_load)
    size = math.prod(len(values) for values in checked.values())
    if size > MOST_POINTS:
        counts = " x ".join(str(len(values)) for values in checked.values())
        raise AxisError(f"the search has {counts} = {size:,} points", hint=f"Name at most {MOST_POINTS:,}.")
    return list(_points(checked))


def _canonical(name: object, canonical_path: Callable[[str], str]) -> str:
    if not isinstance(name, str):
        raise AxisError(f"{name!r} is no axis", hint="Name a field of ModelConfig, such as 'instance_group.count'.")
    try:
        return canonical_path(name)
    except AxisError as error:
        close = difflib.get_close_matches(name, LOAD_AXES, n=1, cutoff=0.75)
        if close:
            raise AxisError(f"there is no axis {name!r}", hint=f"did you mean {close[0]!r}?") from None
        raise error from None


def _check_values(
    name: str,
    path: str,
    values: object,
    canonical_value: Callable[[str, object], Value],
    read_load: Callable[[str, Any], Any],
) -> list[Any]:
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise AxisError(f"{name}: {values!r} is not a list of values", hint=f"Write {name!r}: [{values!r}].")
    if not values:
        raise AxisError(f"{name}: the axis has no values", hint="Name at least one, or drop the axis.")
    checked: list[Any] = []
    for value in values:
        if path in LOAD_AXES:
            try:
                checked.append(read_load(path, value))
            except UsageError as error:
                raise AxisError(error.problem, hint=error.hint) from None
        else:
            checked.append(canonical_value(path, value))
    seen: set[str] = set()
    for value, plain in zip(values, checked, strict=True):
        text = json.dumps(plain, sort_keys=True, default=repr)
        if text in seen:
            raise AxisError(f"{name}: {value!r} stands in the axis twice", hint="Name each value once.")
        seen.add(text)
    return checked


def _points(axes: Mapping[str, list[Any]]) -> Iterator[SpacePoint]:
    labels = label_axes(axes)
    # A stable sort: what changes slowest first, and the declared order within each kind.
    visited = sorted(axes, key=_pace)
    seen: set[str] = set()
    for choice in itertools.product(*(range(len(axes[path])) for path in visited)):
        chosen = dict(zip(visited, choice, strict=True))
        removed = [path for path, index in chosen.items() if axes[path][index] is None]
        kept = [path for path in axes if not any(path.startswith(f"{outer}.") for outer in removed)]
        name = "-".join(labels[path][chosen[path]] for path in kept)
        if name in seen:
            continue
        seen.add(name)
        values = {path: axes[path][chosen[path]] for path in kept}
        yield SpacePoint(
            name,
            {path: value for path, value in values.items() if path not in LOAD_AXES},
            {path: value for path, value in values.items() if path in LOAD_AXES},
        )


def _pace(path: str) -> int:
    """Rank an axis by the cost of its change: a load of the model, a change in place, nothing."""
    if path in LOAD_AXES:
        return 2
    return 1 if path.partition(".")[0] in _IN_PLACE else 0
