"""Which candidate wins, from figures alone."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_triton.case import Load, Value
from pytest_triton.metrics import Better, Estimate
from pytest_triton.search.objective import Objective, dominates

if TYPE_CHECKING:
    from pytest_triton.search.probed import Probed

NEAR = 0.05
_IN_REACH = 0.15
"""What lies within so much of the leader by its first figures may be the best one, as a fraction."""
_SAME_MEMORY = math.log(1.05)
"""Memory that differs by less than about 5 % is the same: two readings of one configuration differ by some."""


class Status(enum.Enum):
    """What became of a candidate."""

    MEASURED = "measured"
    INFEASIBLE = "infeasible"
    UNLOADABLE = "unloadable"
    CRASHED = "crashed"
    DISQUALIFIED = "disqualified"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Result:
    """What a search knows of one candidate.

    ``instances`` is the total of its instance groups; ``load`` what it was measured with, ``metrics`` what came of it.
    ``probes`` are all the loads that were tried with it.
    """

    id: str
    patch: Mapping[str, Value]
    status: Status
    reason: str = ""
    load: Load = field(default_factory=Load)
    instances: int = 0
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    probes: Sequence[Probed] = ()

    def value(self, by: Objective) -> Estimate | None:
        """Return its value of an objective; None where that is not known."""
        return by.value(self.metrics, self.instances)


def rank(results: Iterable[Result], by: Objective) -> list[Result]:
    """Return the results that may win, best first."""
    known = [(value.value, r) for r in results if r.status is Status.MEASURED and (value := r.value(by)) is not None]
    sign = -1.0 if by.better is Better.HIGHER else 1.0
    return [result for _, result in sorted(known, key=lambda pair: sign * pair[0])]


def front(results: Iterable[Result], by: Sequence[Objective]) -> list[Result]:
    """Return the results that may win and that none other beats in one objective without losing in another.

    They come in the order of the first objective. (Pareto front.)
    """
    ranked = rank(results, by[0])
    values = [[result.value(each) for each in by] for result in ranked]
    return [
        result
        for result, own in zip(ranked, values, strict=True)
        if None not in own and not any(dominates(other, own, by) for other in values)
    ]


Cost = tuple[int, int, int]


def costs(
    configurations: Sequence[tuple[int, Mapping[str, Estimate], Mapping[str, Value]]],
) -> list[Cost]:
    """Return what configurations occupy, to be compared: instances, then memory, then the fields that they set.

    Each is given by its instances, its metrics and its patch. Memory counts in steps of 5 % above the least that one
    with as many instances takes; where it is not known it is the least.
    """
    sizes = [metrics.get("gpu_memory", metrics.get("rss")) for _, metrics, _ in configurations]
    least: dict[int, float] = {}
    for (instances, _, _), size in zip(configurations, sizes, strict=True):
        if size is not None:
            least[instances] = min(least.get(instances, math.inf), max(size.value, 1.0))
    return [
        (
            instances,
            int(math.log(max(size.value, 1.0) / least[instances]) / _SAME_MEMORY) if size is not None else 0,
            sum(1 for value in patch.values() if value is not None),
        )
        for (instances, _, patch), size in zip(configurations, sizes, strict=True)
    ]


def finalists(ranked: Sequence[Result], by: Objective) -> list[Result]:
    """Return the leader and those that may be better, best first.

    Those are the candidates whose value lies within ``NEAR`` of the leader's, or whose interval overlaps the leader's
    and whose value lies within ``_IN_REACH`` of it: what a probe says of itself knows nothing of the seconds around it,
    in which the machine may have done other things.
    """
    known = [(result, value) for result in ranked if (value := result.value(by)) is not None]

    def may_be_better(value: Estimate) -> bool:
        leader = known[0][1]
        behind = abs(value.value - leader.value)
        return behind <= NEAR * abs(leader.value) or (
            behind <= _IN_REACH * abs(leader.value) and _overlap(leader, value)
        )

    return [result for result, value in known if may_be_better(value)]


def _overlap(a: Estimate, b: Estimate) -> bool:
    low_a, high_a = _interval(a)
    low_b, high_b = _interval(b)
    return low_a <= high_b and low_b <= high_a


def _interval(estimate: Estimate) -> tuple[float, float]:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return low, high
