"""What a server counts of a model and of the models that it calls: an ensemble's steps, or those of its own code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

from pytest_triton.observation import ServerStatistics
from pytest_triton.server.base import Control

_MISSING, _MISSING_SHARE = 20, 0.1
"""So many requests may be answered just before a server is asked what it has counted, and just after."""

Composing = Mapping[str, ServerStatistics]
"""Statistics of the models that one model calls, by name."""


class Counting:
    """Triton's statistics of one model and of those that it calls, from a moment on.

    An ensemble calls the models of its steps. What Python code calls (business logic scripting) stands nowhere; it is
    every other model that served requests meanwhile, which on a server that others use may be one too many.
    """

    def __init__(self, control: Control, model: str, *, apart: Iterable[str] = ()) -> None:
        """Begin to count. ``model`` must be loaded; the models ``apart`` are asked by others."""
        self._control = control
        self._model = model
        self._apart = frozenset(apart)
        self._steps = ensemble_steps(control, model)
        self._before = control.all_statistics()
        self._last = self._before.get(model, ServerStatistics())

    def step(self) -> ServerStatistics:
        """Return what has happened to the model itself since the last step, or since the beginning."""
        before, self._last = self._last, self._control.statistics(self._model)
        return self._last.since(before)

    def look(self) -> tuple[ServerStatistics, Composing, Composing]:
        """Return what has happened since: to the model itself, to those that it calls, and to those ``apart``."""
        moved = {
            name: statistics.since(self._before.get(name, ServerStatistics()))
            for name, statistics in self._control.all_statistics().items()
        }
        own = moved.pop(self._model, ServerStatistics())
        apart = {name: moved[name] for name in self._apart if name in moved}
        if self._steps:
            return own, {name: moved[name] for name in self._steps if name in moved}, apart
        called = {
            name: each
            for name, each in moved.items()
            if each.success_count + each.fail_count > 0 and name not in self._apart
        }
        return own, {name: each for name, each in called.items() if not ensemble_steps(self._control, name)}, apart


def is_one_of_several(counted: ServerStatistics, stretches: Iterable[ServerStatistics], succeeded: int) -> bool:
    """Say whether ``counted`` is not of the one server that answered the ``succeeded`` requests.

    ``stretches`` are what was counted in parts of that time. Where several servers share an address, now one and now
    another says what it has counted: too little of it, or less than was counted before.
    """
    if succeeded - counted.success_count > max(_MISSING, _MISSING_SHARE * succeeded):
        return True
    return any(each.success_count < 0 for each in (counted, *stretches))


def ensemble_steps(control: Control, model: str) -> tuple[str, ...]:
    """Name the models that an ensemble consists of, in the order of its steps; of an inner ensemble, its steps.

    An ensemble computes nothing itself. Empty for a model that is none.
    """
    steps: dict[str, None] = {}
    for step in control.configuration(model).ensemble_scheduling.step:
        inner = ensemble_steps(control, step.model_name)
        steps.update(dict.fromkeys(inner or (step.model_name,)))
    return tuple(steps)


def add_up(parts: Iterable[Composing]) -> Composing:
    """Add up what was counted in several spans of time."""

    def join(one: Composing, other: Composing) -> Composing:
        return {
            name: one.get(name, ServerStatistics()).plus(other.get(name, ServerStatistics()))
            for name in (*one, *(name for name in other if name not in one))
        }

    return reduce(join, parts, {})
