"""The points of a search: every combination of the axes' values, in the order they are best visited."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_triton.case import Value
from pytest_triton.errors import AxisError
from pytest_triton.search.axes import Axis
from pytest_triton.search.names import LOAD_AXES, SERVER, other_model

MOST_POINTS = 10_000
"""A space with more points than this is not expanded: pytest collects each point as a test."""
_MOST_COMBINATIONS = 200_000
"""Combinations that a predicate is asked about, to find those that are left."""
_MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class SpacePoint:
    """One candidate: a readable id, and what it sets.

    ``patch`` is of the model's configuration, by canonical path; ``load`` holds fields of the load, ``server`` options
    of Triton's command line, ``composing`` a patch for each other model.
    """

    id: str
    patch: Mapping[str, Value]
    load: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Value] = field(default_factory=dict)
    composing: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> SpacePoint:
        """Sort the values of axes, given by canonical path, by what they are about."""
        patch: dict[str, Value] = {}
        load: dict[str, Any] = {}
        server: dict[str, Value] = {}
        composing: dict[str, dict[str, Value]] = {}
        for path, value in values.items():
            if path in LOAD_AXES:
                load[path] = value
            elif path.startswith(SERVER):
                if value is not None:
                    server[path.removeprefix(SERVER)] = value
            elif model := other_model(path):
                composing.setdefault(model, {})[path.partition(":")[2]] = value
            else:
                patch[path] = value
        return cls(name, patch, load, server, composing)


class Values(dict[str, Any]):
    """What ``exclude=`` is asked about: values as they were written, by the axes' names or their canonical paths.

    An axis inside a field that the combination removes has the value None.
    """

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        super().__init__(values)
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self[self._names[name]]


@dataclass(frozen=True, slots=True)
class Space:
    """Axes, and what is left out of their combinations.

    ``exclude`` is the user's predicate over ``Values``; ``idle`` is ours, of combinations that are the same as others
    in effect; ``refuse`` says why Triton would refuse a point, or None. ``names`` maps other names of the axes (paths,
    aliases) to those that were written.

    To propose points instead of expanding them, choose a value's index for each axis by its path, outer axes before
    those inside them; one that ``matters`` not beside what was chosen is left out. ``point`` makes the candidate, with
    the id it would have if the space were expanded, and ``left_out`` says why it is none.
    """

    axes: tuple[Axis, ...]
    exclude: Callable[[Values], Any] | None = None
    refuse: Callable[[SpacePoint], str | None] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    idle: Callable[[Values], bool] | None = None
    _around: Mapping[str, tuple[Axis, ...]] = field(init=False, repr=False, compare=False)
    """For each axis those that it lies inside."""

    def __post_init__(self) -> None:
        around = {axis.path: tuple(filter(axis.is_inside, self.axes)) for axis in self.axes}
        object.__setattr__(self, "_around", around)

    @property
    def size(self) -> int:
        """How many combinations there are, those that are left out among them."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def counts(self) -> str:
        """The numbers of values, as in ``3 x 4 = 12``."""
        factors = " x ".join(str(len(axis.values)) for axis in self.axes)
        return f"{factors} = {self.size:,}" if len(self.axes) > 1 else f"{self.size:,}"

    def matters(self, axis: Axis, choice: Mapping[str, int]) -> bool:
        """Tell whether an axis varies anything: not inside a field that ``choice`` removes."""
        return not any(
            outer.path in choice and outer.values[choice[outer.path]] is None for outer in self._around[axis.path]
        )

    def point(self, choice: Mapping[str, int]) -> SpacePoint:
        """Return the candidate that has the chosen value of every axis that matters."""
        kept = [axis for axis in self.axes if self.matters(axis, choice)]
        name = "-".join(axis.labels[choice[axis.path]] for axis in kept)
        return SpacePoint.of(name, {axis.path: axis.values[choice[axis.path]] for axis in kept})

    def left_out(self, choice: Mapping[str, int], point: SpacePoint) -> str | None:
        """Say why a combination is no candidate, or None. Raises ``AxisError`` where the predicate fails."""
        if self.exclude is not None or self.idle is not None:
            values = self._values(choice)
            if self.idle is not None and self.idle(values):
                return IDLE
            if self.exclude is not None and self._excluded(self.exclude, values, point):
                return EXCLUDED
        return self.refuse(point) if self.refuse is not None else None

    def find(self, name: str) -> SpacePoint | None:
        """Return the point with this id, or None."""
        choice = self.choice(name)
        return None if choice is None else self.point(choice)

    def choice(self, name: str) -> dict[str, int] | None:
        """Return which value of each axis the point with this id has, or None."""
        labels = name.split("-")
        choice: dict[str, int] = {}
        for axis in sorted(self.axes, key=lambda axis: axis.path.count(".")):
            found = [index for index, label in enumerate(axis.labels) if label in labels]
            if found:
                choice[axis.path] = found[0]
        if any(axis.path not in choice and self.matters(axis, choice) for axis in self.axes):
            return None
        return choice if self.point(choice).id == name else None

    def some(self, values: Mapping[str, Sequence[Any]]) -> SpacePoint | None:
        """Return a point that has one of the given values of each of these axes, by canonical path, or None."""
        choice: dict[str, int] = {}
        for axis in self.axes:
            meant = values.get(axis.path, [value for value in axis.values if value is not None])
            choice[axis.path] = next((index for index, value in enumerate(axis.values) if value in meant), 0)
        return self.point(choice) if values.keys() <= choice.keys() else None

    def loads(self) -> list[dict[str, Any]]:
        """Return every combination of the fields of the load. Raises ``AxisError`` for very many."""
        axes = [axis for axis in self.axes if axis.path in LOAD_AXES]
        if math.prod(len(axis.values) for axis in axes) > MOST_POINTS:
            raise AxisError("the axes of the load have very many combinations", hint=f"Name at most {MOST_POINTS:,}.")
        combinations = itertools.product(*(axis.values for axis in axes))
        return [dict(zip((axis.path for axis in axes), values, strict=True)) for values in combinations]

    def choices(self) -> Iterator[dict[str, int]]:
        """Yield every combination once, neighbours differing by what is cheap to change.

        Those that differ in the load alone come next to each other, then those that differ in what Triton changes in
        place; otherwise the order is the declared one, as it is in the ids, but for the largest batch: the larger one
        comes first, because it mostly wins, and what it has shown lets others be dropped early. Where an outer field
        is removed the axes inside it mean nothing, so there is one combination for all their values.
        """
        # A stable sort: what changes slowest first, and the declared order within each kind.
        visited = sorted(self.axes, key=lambda axis: axis.pace)
        paths = [axis.path for axis in visited]
        inner = [axis for axis in visited if self._around[axis.path]]
        for indices in itertools.product(*(axis.visiting for axis in visited)):
            choice = dict(zip(paths, indices, strict=True))
            # Of the values that mean nothing the first one stands for all.
            if any(choice[axis.path] and not self.matters(axis, choice) for axis in inner):
                continue
            yield choice

    def expand(self) -> Expansion:
        """Return every candidate. Raises ``AxisError`` for a space that is too large, and for one that is empty."""
        if self.size > (MOST_POINTS if self.exclude is None else _MOST_COMBINATIONS):
            raise self._too_large(f"the search has {self.counts} points")
        points: list[SpacePoint] = []
        reasons: Counter[str] = Counter()
        for choice in self.choices():
            point = self.point(choice)
            reason = self.left_out(choice, point)
            if reason is None:
                points.append(point)
            else:
                reasons[reason] += 1
        if not points:
            raise AxisError(
                f"no candidate is left of the {sum(reasons.values()):,} combinations of the search's axes",
                details=tell(reasons),
                hint="Let exclude= leave out less." if EXCLUDED in reasons else "Name other values.",
            )
        if len(points) > MOST_POINTS:
            raise self._too_large(f"the search has {len(points):,} points of {self.counts} combinations")
        return Expansion(tuple(points), reasons)

    def _too_large(self, problem: str) -> AxisError:
        return AxisError(
            f"{problem}; each would be measured",
            hint=f"Name at most {MOST_POINTS:,} (fewer values, exclude=), or let strategy='optuna' propose trials=50 "
            "of them.",
        )

    def _values(self, choice: Mapping[str, int]) -> Values:
        said = {
            axis.name: axis.written[choice[axis.path]] if self.matters(axis, choice) else None for axis in self.axes
        }
        return Values(said, self.names)

    def _excluded(self, exclude: Callable[[Values], Any], values: Values, point: SpacePoint) -> bool:
        try:
            return bool(exclude(values))
        except Exception as error:  # noqa: BLE001 - it is the user's own code, whatever it raises
            told = f"no axis {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            known = ", ".join(axis.name for axis in self.axes)
            raise AxisError(
                f"exclude= failed for {point.id}: {told}",
                details=[f"{name}: {value!r}" for name, value in values.items()],
                hint=f"Its argument maps the axes to the values of one combination: {known}.",
            ) from None


EXCLUDED = "exclude="
"""What is said of a combination that the user's predicate leaves out."""
IDLE = "the same as another one in effect"
"""What is said of one that the default space leaves out."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """The candidates of a space, in the order to visit them, and how many were left out for which reason."""

    points: tuple[SpacePoint, ...]
    reasons: Mapping[str, int]


def tell(reasons: Mapping[str, int]) -> list[str]:
    """Say what was left out, a line each."""
    refused = {reason: number for reason, number in reasons.items() if reason not in (EXCLUDED, IDLE)}
    usual = sorted(((number, reason) for reason, number in refused.items()), reverse=True)
    lines = [f"{number:,} that Triton would refuse: {reason}" for number, reason in usual[:_MOST_REASONS]]
    if len(usual) > _MOST_REASONS:
        rest = usual[_MOST_REASONS:]
        lines.append(f"{sum(number for number, _ in rest):,} that Triton would refuse for {len(rest)} other reasons")
    if EXCLUDED in reasons:
        lines.append(f"{reasons[EXCLUDED]:,} by exclude=")
    return lines
