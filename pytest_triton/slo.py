"""Bounds on metrics: what a model must deliver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_triton.errors import UsageError
from pytest_triton.metrics import Better, Metric, metric
from pytest_triton.quantities import parse, show


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit: ``p99 <= 25 ms``. ``limit`` in the metric's inner unit (seconds, bytes, 1/s, fraction)."""

    metric: Metric
    direction: Better
    limit: float

    def __str__(self) -> str:
        return f"{self.metric.name} {self.direction.value} {show(self.limit, self.metric.unit)}"


@dataclass(frozen=True, slots=True)
class SLO:
    """The bounds a measurement must keep, all of them. Without bounds, every valid measurement keeps it."""

    bounds: tuple[Bound, ...] = ()

    @classmethod
    def parse(cls, limits: Mapping[str, object]) -> SLO:
        """Read ``{"p99": "25ms", "throughput": "400/s", "batch": (">=", 2)}``.

        The direction comes from the metric unless it is given. Raises ``UsageError`` (or
        ``QuantityError``) naming the metric and the nearest valid name or an example.
        """
        return cls(tuple(_bound(name, limit) for name, limit in limits.items()))

    def as_dict(self) -> dict[str, str]:
        """Return the bounds as JSON has them: ``{"p99": "<= 25 ms"}``."""
        return {b.metric.name: f"{b.direction.value} {show(b.limit, b.metric.unit)}" for b in self.bounds}


def _bound(name: str, limit: object) -> Bound:
    found = metric(name)
    direction = found.better
    if isinstance(limit, tuple | list):
        if len(limit) != 2 or limit[0] not in ("<=", ">="):
            raise UsageError(f"{name}={limit!r} is not a bound", hint=f"write {name}=('<=', ...) or ('>=', ...)")
        direction, limit = Better(limit[0]), limit[1]
    try:
        return Bound(found, direction, parse(limit, found.unit))
    except UsageError as error:
        raise type(error)(f"{name}: {error.problem}", hint=error.hint) from None
