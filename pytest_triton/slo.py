"""Bounds on metrics: what a model must deliver."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_triton.errors import UsageError
from pytest_triton.metrics import METRICS, Better, Metric, metric
from pytest_triton.quantities import Unit, parse, show

_MAY_BE_ZERO = (Unit.FRACTION, Unit.BYTES)
"""Units of metrics that a model can hold at 0: no errors, no GPU memory. Nothing takes no time."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit: ``p99 <= 25 ms``. ``limit`` in the metric's inner unit (seconds, bytes, 1/s, fraction).

    ``source`` says where it is written: a marker, or a table of an slo.toml.
    """

    metric: Metric
    direction: Better
    limit: float
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.metric.name} {self.direction.value} {show(self.limit, self.metric.unit)}"


@dataclass(frozen=True, slots=True)
class SLO:
    """The bounds a measurement must keep, all of them. Without bounds, every valid measurement keeps it."""

    bounds: tuple[Bound, ...] = ()

    @classmethod
    def parse(cls, limits: Mapping[str, object], source: str = "") -> SLO:
        """Read ``{"p99": "25ms", "throughput": [(">=", "400/s"), ("<=", "500/s")], "batch": (">=", 2)}``.

        The direction comes from the metric unless it is given; two of them bound it on both sides. ``other:p99`` bounds
        a model that is under a load of its own beside the measured one. ``source`` says where the bounds are written.
        Raises ``UsageError`` (or ``QuantityError``) naming the metric and the nearest valid name or an example, and
        where bounds contradict each other.
        """
        return cls.of(itertools.chain.from_iterable(_bounds(name, limit, source) for name, limit in limits.items()))

    @classmethod
    def of(cls, bounds: Iterable[Bound]) -> SLO:
        """Put bounds together. Raises ``UsageError`` when no measurement could keep them all."""
        slo = cls(tuple(bounds))
        for one, other in itertools.permutations(slo.bounds, 2):
            if one.direction is Better.HIGHER and other.direction is Better.LOWER and _contradict(one, other):
                told = (str(one), str(other)) if one.source == other.source else (_told(one), _told(other))
                raise UsageError(
                    f"{' and '.join(told)} contradict each other: no measurement can keep both",
                    hint="change one of them"
                    if one.metric == other.metric
                    else f"{one.metric.name} is never above {other.metric.name}; change one of them",
                )
        return slo

    def on(self, model: str = "") -> SLO:
        """Return the bounds on one model: the measured one, or by its name one under a load of its own beside it."""
        return SLO(tuple(bound for bound in self.bounds if bound.metric.model == model))

    @property
    def models(self) -> tuple[str, ...]:
        """The models beside the measured one that it has bounds on."""
        return tuple(dict.fromkeys(bound.metric.model for bound in self.bounds if bound.metric.model))

    def as_dict(self) -> dict[str, str]:
        """Return the bounds as JSON has them: ``{"p99": "<= 25 ms"}``; two sides with an ``and`` between them."""
        found: dict[str, str] = {}
        for bound in self.bounds:
            name, text = bound.metric.name, f"{bound.direction.value} {show(bound.limit, bound.metric.unit)}"
            found[name] = f"{found[name]} and {text}" if name in found else text
        return found


def _bounds(name: str, limit: object, source: str) -> Iterator[Bound]:
    found = metric(name)
    if isinstance(limit, list) and limit and all(isinstance(each, tuple | list) for each in limit):
        bounds = [_bound(found, each, source) for each in limit]
        if len({bound.direction for bound in bounds}) < len(bounds):
            raise UsageError(f"{name}={limit!r} bounds one side twice", hint=f"write {name}={_two_sides(found)}")
        yield from bounds
    else:
        yield _bound(found, limit, source)


def _bound(found: Metric, limit: object, source: str) -> Bound:
    name, direction = found.name, found.better
    if isinstance(limit, tuple | list):
        if len(limit) != 2 or limit[0] not in ("<=", ">="):
            raise UsageError(
                f"{name}={limit!r} is not a bound",
                hint=f"write {name}=('<=', ...) or ('>=', ...), or both as in {name}={_two_sides(found)}",
            )
        direction, limit = Better(limit[0]), limit[1]
    try:
        bound = Bound(found, direction, parse(limit, found.unit), source)
    except UsageError as error:
        raise type(error)(f"{name}: {error.problem}", hint=error.hint) from None
    nonsense = _nonsense(bound)
    if nonsense:
        raise UsageError(f"{bound}: {nonsense}", hint="write a limit that a measurement can keep, and can miss")
    return bound


def _two_sides(found: Metric) -> str:
    low, high = {Unit.PER_SECOND: ("100/s", "400/s"), Unit.SECONDS: ("5ms", "25ms"), Unit.BYTES: ("1GiB", "2GiB")}.get(
        found.unit, ("10%", "90%")
    )
    return f"[('>=', {low!r}), ('<=', {high!r})]" if found.unit is not Unit.COUNT else "[('>=', 2), ('<=', 8)]"


def _nonsense(bound: Bound) -> str:
    """Say why every measurement keeps a bound, or none can; "" where neither is so."""
    found, limit = bound.metric, bound.limit
    if limit > found.most:
        return f"it is never above {show(found.most, found.unit)}"
    if bound.direction is Better.HIGHER:
        return "every measurement keeps it, as it is never below 0" if limit == 0 else ""
    if limit == found.most:
        return f"every measurement keeps it, as it is never above {show(found.most, found.unit)}"
    return "no measurement can keep it" if limit == 0 and found.unit not in _MAY_BE_ZERO else ""


def _contradict(least: Bound, most: Bound) -> bool:
    """Tell whether a metric that is at least so much keeps another, or itself, from being at most so much."""
    if least.metric.model != most.metric.model or least.limit <= most.limit:
        return False
    return least.metric == most.metric or most.metric.plain in _never_below(least.metric.plain)


def _never_below(name: str) -> frozenset[str]:
    """Name the metrics that are never below this one: a percentile's are the higher ones of its series."""
    this = METRICS[name]
    if this.quantile is None:
        return {"mean": frozenset({"max"}), "achieved_rate": frozenset({"offered_rate"})}.get(name, frozenset())
    of_same = [other for other in METRICS.values() if other.series == this.series]
    return frozenset(o.name for o in of_same if o.name == "max" or (o.quantile or 0.0) > this.quantile)


def _told(bound: Bound) -> str:
    return f"{bound} ({bound.source})" if bound.source else str(bound)
