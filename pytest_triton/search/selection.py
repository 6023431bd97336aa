"""Which candidate wins."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_triton.case import Load, Value
from pytest_triton.errors import UsageError
from pytest_triton.metrics import Better, Estimate, Metric, metric

_NEAR = 0.05


class Status(enum.Enum):
    """What became of a candidate."""

    MEASURED = "measured"
    INFEASIBLE = "infeasible"
    UNLOADABLE = "unloadable"
    DISQUALIFIED = "disqualified"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Result:
    """What a search knows of one candidate.

    ``instances`` is the total of its instance groups; ``load`` what it was measured with.
    """

    id: str
    patch: Mapping[str, Value]
    status: Status
    reason: str = ""
    load: Load = field(default_factory=Load)
    instances: int = 0
    metrics: Mapping[str, Estimate] = field(default_factory=dict)


def objective(name: str) -> Metric:
    """Look up the metric that a search optimises. Raises ``UsageError`` with the nearest valid name."""
    found = metric(name)
    if found.name == "error_rate":
        raise UsageError("error_rate is no objective", hint="Bound it with triton_slo(error_rate='0%') instead.")
    return found


def rank(results: Sequence[Result], by: Metric) -> list[Result]:
    """Return the results that may win, best first."""
    able = [r for r in results if r.status is Status.MEASURED and by.name in r.metrics]
    sign = -1.0 if by.better is Better.HIGHER else 1.0
    return sorted(able, key=lambda r: sign * r.metrics[by.name].value)


def cost(result: Result) -> tuple[float, int, float]:
    """What a configuration occupies: instances, fields set, resident memory in bytes. A tie goes to the least."""
    memory = result.metrics.get("rss")
    fields = sum(1 for value in result.patch.values() if value is not None)
    return result.instances, fields, memory.value if memory is not None else 0.0


def finalists(ranked: Sequence[Result], by: Metric) -> list[Result]:
    """Return the leader and those that are not told apart from it, the cheapest first.

    Those are the candidates whose interval overlaps the leader's and whose value lies within 5 % of it.
    """
    if not ranked:
        return []
    leader = ranked[0].metrics[by.name]
    near = [r for r in ranked if _overlap(leader, r.metrics[by.name]) and _is_near(leader, r.metrics[by.name])]
    return sorted(near, key=cost)


def _is_near(leader: Estimate, other: Estimate) -> bool:
    return abs(other.value - leader.value) <= _NEAR * abs(leader.value)


def _overlap(a: Estimate, b: Estimate) -> bool:
    low_a, high_a = _interval(a)
    low_b, high_b = _interval(b)
    return low_a <= high_b and low_b <= high_a


def _interval(estimate: Estimate) -> tuple[float, float]:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return low, high
