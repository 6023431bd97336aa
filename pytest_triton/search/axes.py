"""The axes of a search: their values checked, and how dear a change of each is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.case import Value
from pytest_triton.errors import AxisError, UsageError
from pytest_triton.search.labels import label_axes
from pytest_triton.search.names import LOAD_AXES, SERVER, Reader, canonical_name, other_model
from pytest_triton.search.values import MOST

# What Triton changes without loading the model again (TritonModel::UpdateInstanceGroup in its core).
_IN_PLACE = ("instance_group", "version_policy")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its name as the user wrote it, its canonical path, its values, and the label of each in ids.

    ``written`` are the values as the user wrote them.
    """

    name: str
    path: str
    values: tuple[Any, ...]
    written: tuple[Any, ...]
    labels: tuple[str, ...]

    @property
    def ascending(self) -> bool:
        """Whether the values are numbers that grow, so that those next to each other are alike."""
        numbers = [value for value in self.written if isinstance(value, int | float) and not isinstance(value, bool)]
        return len(numbers) == len(self.written) and all(a < b for a, b in itertools.pairwise(numbers))

    @property
    def visiting(self) -> range:
        """The indices of the values in the order they are best visited."""
        indices = range(len(self.values))
        return indices[::-1] if self.path == "max_batch_size" and self.ascending else indices

    def is_inside(self, other: Axis) -> bool:
        """Tell whether it varies a field inside the one that ``other`` varies."""
        return self.path.startswith(f"{other.path}.")

    @property
    def pace(self) -> int:
        """How dear its change is, 0 the dearest: a start of the server, loads of models, a change in place, none."""
        if self.path in LOAD_AXES:
            return 4
        if self.path.startswith(SERVER):
            return 0
        if other_model(self.path):
            return 1
        return 3 if self.path.partition(".")[0] in _IN_PLACE else 2


def read_axes(axes: Mapping[Any, Any], reader: Reader) -> tuple[Axis, ...]:
    """Check names and values. Raises ``AxisError`` naming the axis, the value, and what is possible."""
    checked: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...]]] = {}
    for name, values in axes.items():
        path = _canonical(name, values, reader)
        if path in checked:
            raise AxisError(f"{path} is an axis twice, the second time as {name!r}", hint="Join their values.")
        written, read = _read_values(name, path, values, reader)
        checked[path] = name, read, written
    labels = label_axes({path: read for path, (_, read, _) in checked.items()})
    return tuple(
        Axis(name, path, read, written, tuple(labels[path])) for path, (name, read, written) in checked.items()
    )


def _canonical(name: Any, values: Any, reader: Reader) -> str:
    try:
        return canonical_name(name, reader)
    except AxisError:
        if isinstance(values, Mapping):
            raise AxisError(
                f"{name!r} is a candidate given whole, and stands beside axes",
                hint="Give every candidate whole, as in {'small': {...}, 'big': {...}}, or name axes with lists alone.",
            ) from None
        raise


def read_value(path: str, value: Any, reader: Reader) -> Any:
    """Check one value of the axis ``path`` and return it as a candidate keeps it. Raises ``AxisError``."""
    if path in LOAD_AXES:
        try:
            return reader.load(path, value)
        except UsageError as error:
            raise AxisError(error.problem, hint=error.hint) from None
    if path.startswith(SERVER):
        return _argument(path, value)
    return reader.value(path.partition(":")[2] if other_model(path) else path, value)


def _argument(path: str, value: Any) -> Value:
    """Check the argument of an option, or several where it is given several times."""
    for each in value if isinstance(value, list) and value else [value]:
        if each == "" or not (each is None or isinstance(each, str | bool | int | float)):
            raise AxisError(
                f"{path}: {value!r} is refused",
                hint="Write the option's argument, a list of them to give it several times, or None to leave it out.",
            )
    return value  # type: ignore[no-any-return]


def _read_values(name: str, path: str, values: Any, reader: Reader) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return an axis's values as they were written, and as they are meant."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise AxisError(f"{name}: {values!r} is not a list of values", hint=f"Write {name!r}: [{values!r}].")
    if not values:
        raise AxisError(f"{name}: the axis has no values", hint="Name at least one, or drop the axis.")
    if len(values) > MOST:
        raise AxisError(f"{name}: the axis has {len(values):,} values", hint=f"Name at most {MOST:,}.")
    written = tuple(values)
    read = tuple(read_value(path, value, reader) for value in written)
    seen: set[str] = set()
    for value, plain in zip(written, read, strict=True):
        text = json.dumps(plain, sort_keys=True, default=repr)
        if text in seen:
            raise AxisError(f"{name}: {value!r} stands in the axis twice", hint="Name each value once.")
        seen.add(text)
    return written, read
