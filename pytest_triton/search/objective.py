"""What a search optimises: a metric, a ratio such as throughput per instance, or several metrics by weights.

All of them are products of powers of metrics. A gain is then the ratio of two values whatever the units are, and
comparisons in pairs of blocks work on its logarithm as they do for one metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.errors import UsageError, nearest
from pytest_triton.metrics import Better, Estimate, metric
from pytest_triton.quantities import Unit, show

INSTANCES = "instances"
"""What may be divided by beside metrics: the instances of the configuration."""
_PER = (INSTANCES, "gpu_memory", "rss", "cpu", "gpu_utilization", "gpu_power")
_LEAST = 1e-12
_GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Factor:
    """A metric (or the number of instances) and the power it is raised to."""

    name: str
    power: float


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure to optimise. ``unit`` is None where it has none of its own, as a weighted one."""

    name: str
    better: Better
    factors: tuple[Factor, ...]
    unit: Unit | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it is made of."""
        return tuple(factor.name for factor in self.factors if factor.name != INSTANCES)

    @property
    def models(self) -> tuple[str, ...]:
        """The models under a load of their own beside the measured one whose metrics are among them."""
        return tuple(dict.fromkeys(model for name in self.metrics if (model := metric(name).model)))

    def value(self, metrics: Mapping[str, Estimate], instances: int = 1) -> Estimate | None:
        """Return its value with the interval that follows from its factors' ends; None where a metric is missing."""
        value = low = high = 1.0
        known = [True, True]
        for factor in self.factors:
            estimate = Estimate(max(instances, 1), max(instances, 1), max(instances, 1))
            if factor.name != INSTANCES:
                if factor.name not in metrics:
                    return None
                estimate = metrics[factor.name]
            ends = (estimate.low, estimate.high) if factor.power > 0 else (estimate.high, estimate.low)
            known = [here and end is not None for here, end in zip(known, ends, strict=True)]
            value *= max(estimate.value, _LEAST) ** factor.power
            low *= max(ends[0] or 0.0, _LEAST) ** factor.power
            high *= max(ends[1] or 0.0, _LEAST) ** factor.power
        return Estimate(value, low if known[0] else None, high if known[1] else None)

    def quotient(self, one: float, other: float) -> float:
        """Return how many times better ``one`` is than ``other``: above 1 it is, whichever way is better.

        A value of 0 (nothing was served) is a tiny one, an infinite one (all failed) a huge one: hopeless either way.
        """
        ratio = min(max(one, _LEAST), 1 / _LEAST) / min(max(other, _LEAST), 1 / _LEAST)
        return ratio if self.better is Better.HIGHER else 1 / ratio

    def gain(self, quotient: float) -> float:
        """Return as a fraction of the other's value what ``quotient`` times better is: 0.67 is 67 % more or less."""
        return quotient - 1 if self.better is Better.HIGHER else 1 - 1 / quotient

    def gain_of(self, quotients: Sequence[float], confidence: float) -> Estimate:
        """Return the gain that ``quotients`` of paired blocks show, with its interval."""
        from pytest_triton.statistics import ratio_interval

        found = ratio_interval(quotients, confidence)
        ends = (None if end is None else self.gain(end) for end in (found.low, found.high))
        return Estimate(self.gain(found.value), *ends)

    def show(self, value: float | None) -> str:
        """Write a value: ``431/s``, ``25 ms``, ``120/s per instance``, or a plain number for a weighted one."""
        if value is None:
            return "-"
        if self.unit is None:
            return f"{value:.4g}"
        divisor = self.factors[-1] if len(self.factors) == 2 else None
        if divisor is None:
            return show(value, self.unit)
        if divisor.name == INSTANCES:
            return f"{show(value, self.unit)} per instance"
        if metric(divisor.name).unit is Unit.BYTES:
            return f"{show(value * _GIB, self.unit)} per GiB"
        if divisor.name == "gpu_power":
            return f"{show(value, self.unit)} per W"
        return f"{show(value, self.unit)} per {divisor.name}"


def objective(wish: Any) -> Objective:
    """Read one objective: ``"throughput"``, ``"p99"``, ``"throughput/instances"``, or ``{"throughput": 3, "p99": 1}``.

    ``other:throughput`` is that of a model which is under a load of its own beside the measured one.

    The name of every objective reads back as itself, so ``"3 throughput + 1 p99"`` says the last one, too, and so does
    ``"3 * throughput + p99"``. Weights are relative: they are scaled to add up to 1, and a weighted objective is the
    product of its metrics, each raised to its weight, a metric that is better when lower dividing. To first order that
    is the weighted sum of the relative gains. Raises ``UsageError`` naming what is wrong.
    """
    if isinstance(wish, Objective):
        return wish
    if isinstance(wish, str):
        if "+" in wish or "*" in wish:
            return _weighted(_read_weights(wish))
        return _ratio(*map(str.strip, wish.split("/", 1))) if "/" in wish else _single(wish.strip())
    if isinstance(wish, Mapping) and wish:
        return _weighted(wish)
    raise UsageError(
        f"{wish!r} is no objective",
        hint="Write a metric, 'throughput/instances', weights as in {'throughput': 3, 'p99': 1}, or a list of these.",
    )


def objectives(wish: Any) -> tuple[Objective, ...]:
    """Read what ``triton_search(objective=)`` says: one objective, or several in a list, the first one leading."""
    if not isinstance(wish, list | tuple):
        return (objective(wish),)
    if not wish:
        raise UsageError("objective=[] leaves nothing to optimise", hint="Name at least one, as in 'throughput'.")
    found = tuple(objective(each) for each in wish)
    for number, each in enumerate(found):
        if each.name in [other.name for other in found[:number]]:
            raise UsageError(f"objective {each.name!r} is named twice", hint="Name each once.")
    return found


def _single(name: str) -> Objective:
    found = metric(name)
    if found.plain == "error_rate":
        model = f"model={found.model!r}, " if found.model else ""
        raise UsageError(f"{name} is no objective", hint=f"Bound it with triton_slo({model}error_rate='0%') instead.")
    return Objective(found.name, found.better, (Factor(found.name, 1.0),), found.unit)


def _ratio(over: str, under: str) -> Objective:
    top = _single(over)
    if under not in _PER:
        raise UsageError(f"objective {over}/{under}: cannot divide by {under!r}", hint=nearest(under, _PER))
    if top.better is not Better.HIGHER:
        raise UsageError(
            f"objective {over}/{under}: {over} is better when it is lower",
            hint=f"Divide what is better when it is higher, as in 'throughput/{under}'.",
        )
    return Objective(f"{over}/{under}", Better.HIGHER, (Factor(over, 1.0), Factor(under, -1.0)), top.unit)


def _read_weights(text: str) -> dict[str, float]:
    """Read ``3 throughput + 1 p99``; a metric without a weight has 1. A ``*`` may stand between the two."""
    weights: dict[str, float] = {}
    for part in text.split("+"):
        weight, _, name = part.replace("*", " ").strip().rpartition(" ")
        try:
            added = float(weight or 1)
        except ValueError:
            raise UsageError(
                f"objective {text!r}: {part.strip()!r} is no weight and metric", hint="Write '3 throughput + 1 p99'."
            ) from None
        if name in weights:
            raise UsageError(f"objective {text!r} names {name!r} twice", hint="Add up its weights.")
        weights[name] = added
    return weights


def _weighted(wish: Mapping[Any, Any]) -> Objective:
    weights: dict[str, float] = {}
    for name, weight in wish.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UsageError(f"objective: the weight of {name!r} is {weight!r}", hint="Write a number above 0.")
        weights[_single(name).name] = float(weight)
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    factors = tuple(
        Factor(name, share if metric(name).better is Better.HIGHER else -share) for name, share in shares.items()
    )
    if len(factors) == 1:
        return _single(next(iter(shares)))
    return Objective(" + ".join(f"{share:.4g} {name}" for name, share in shares.items()), Better.HIGHER, factors)


def dominates(one: Sequence[Estimate | None], other: Sequence[Estimate | None], by: Sequence[Objective]) -> bool:
    """Tell whether ``one`` is at least as good in every objective and better in one, by the estimates' values."""
    if any(value is None for value in (*one, *other)):
        return False
    signs = [1.0 if each.better is Better.HIGHER else -1.0 for each in by]
    gaps = [sign * (a.value - b.value) for sign, a, b in zip(signs, _known(one), _known(other), strict=True)]
    return all(gap >= 0 for gap in gaps) and any(gap > 0 for gap in gaps)


def _known(values: Iterable[Estimate | None]) -> list[Estimate]:
    return [value for value in values if value is not None]
