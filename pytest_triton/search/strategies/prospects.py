"""What a candidate could reach at best, from what is known of it, and whether another one surely does better.

A drop is an error of the search when the candidate was the best one after all. The search as a whole may make one in
``ALPHA`` of the cases, and each candidate spends its share: with n of them an interval's half widths are stretched
so that two intervals of equal candidates come to lie apart with a probability of ``ALPHA`` / n. That is
z(1 - ALPHA / n) / (sqrt(2) z(0.975)), as the difference of two means has the variance of both; up to 18 candidates
disjoint 95 % intervals are strict enough as they are. (Bonferroni; Schenker & Gentleman, "On judging the significance
of differences by examining the overlap between confidence intervals", American Statistician 55, 2001.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from pytest_triton.case import Load
from pytest_triton.metrics import Better, Estimate, metric
from pytest_triton.search.objective import INSTANCES, Objective
from pytest_triton.search.probed import Probed
from pytest_triton.search.selection import Result, rank
from pytest_triton.search.strategies.base import Trial
from pytest_triton.search.strategies.climb import GROWING, SAME, STILL, amount
from pytest_triton.slo import SLO

ALPHA = 0.05
"""How often a search may drop its best candidate early."""


def stretch(candidates: int) -> float:
    """Return by what the half widths of 95 % intervals are multiplied in a search over so many candidates."""
    normal = NormalDist()
    share = normal.inv_cdf(1 - ALPHA / max(candidates, 1))
    return max(1.0, share / (math.sqrt(2) * normal.inv_cdf(0.975)))


@dataclass(frozen=True, slots=True)
class Prospects:
    """What the ``probes`` of one configuration leave possible; at ``load``, or (None) at any of those in question.

    ``saturation`` is the concurrency, or the rate, from which on more load gains nothing. ``delay`` is how long the
    batcher may hold a request back, in seconds, so that latency need not grow with the load; ``factor`` stretches
    intervals.
    """

    probes: Sequence[Probed]
    slo: SLO
    saturation: float
    instances: int = 1
    delay: float = 0.0
    factor: float = 1.0
    load: Load | None = None

    def best(self, objective: Objective) -> float | None:
        """Return the objective's value at best, None where the probes leave it open."""
        metrics: dict[str, Estimate] = {}
        for factor in objective.factors:
            if factor.name == INSTANCES:
                continue
            wanted = (factor.power > 0) == (objective.better is Better.HIGHER)
            end = self._highest(factor.name) if wanted else self._lowest(factor.name)
            if end is None:
                return None
            metrics[factor.name] = Estimate(end)
        value = objective.value(metrics, self.instances)
        return None if value is None else value.value

    def _highest(self, name: str) -> float | None:
        """Bound a throughput from above: by one at a larger load, and by Little's law from a latency at a smaller."""
        if name not in GROWING:
            return None
        ends = []
        for probe in self.probes:
            if not probe.valid or name not in probe.metrics:
                continue
            if self._covers(probe):
                high = self._end(probe.metrics[name], +1)
                ends.append(None if high is None else high * SAME)
            elif name == "throughput" and self._is_smaller(probe):
                ends.append(self._by_little(probe))
        return min((end for end in ends if end is not None), default=None)

    def _covers(self, probe: Probed) -> bool:
        """Whether no load in question has more throughput than this one."""
        if self.load is not None:
            return amount(probe.load) >= amount(self.load)
        return amount(probe.load) >= self.saturation or probe.surely_missed(self.slo, delay=self.delay) is not None

    def _is_smaller(self, probe: Probed) -> bool:
        return self.load is not None and not probe.load.open_loop and not self.load.open_loop

    def _by_little(self, probe: Probed) -> float | None:
        """Return (requests in flight) / (their latency at a smaller load), in inferences per second."""
        latency = self._floor(probe, "mean")
        if self.load is None or not latency:
            return None
        return amount(self.load) * self.load.batch_size / latency

    def _lowest(self, name: str) -> float | None:
        """Bound a latency, or memory, from below."""
        if name in STILL:
            known = [probe.metrics[name].value for probe in self.probes if name in probe.metrics]
            return min(known) / SAME if known else None
        if metric(name).series != "latency" or metric(name).model:
            return None
        least = 1.0 if self.load is None else amount(self.load)
        ends = [
            self._floor(probe, name)
            for probe in self.probes
            if probe.valid and not probe.load.open_loop and amount(probe.load) <= least
        ]
        return max((end for end in ends if end is not None), default=None)

    def _floor(self, probe: Probed, name: str) -> float | None:
        low = self._end(probe.metrics[name], -1) if name in probe.metrics else None
        return None if low is None else max(low - self.delay, 0.0)

    def _end(self, estimate: Estimate, side: int) -> float | None:
        return stretched(estimate, side, self.factor)


def stretched(estimate: Estimate, side: int, factor: float) -> float | None:
    """Return the upper (1) or lower (-1) end of an interval whose half width is multiplied; None where it has none."""
    end = estimate.high if side > 0 else estimate.low
    return None if end is None else estimate.value + factor * (end - estimate.value)


def beaten_by(
    best: Sequence[float | None], results: Iterable[Result], objectives: Sequence[Objective], factor: float
) -> Result | None:
    """Return the result that is surely better, in every objective, than what another candidate could reach at ``best``.

    None where none is.
    """
    return next((result for result in rank(results, objectives[0]) if _beats(result, best, objectives, factor)), None)


def _beats(result: Result, best: Sequence[float | None], objectives: Sequence[Objective], factor: float) -> bool:
    for objective, most in zip(objectives, best, strict=True):
        value = result.value(objective)
        if value is None or most is None:
            return False
        higher = objective.better is Better.HIGHER
        end = stretched(value, -1 if higher else 1, factor)
        if end is None or (end <= most if higher else end >= most):
            return False
    return True


def siblings(trial: Trial) -> list[tuple[Result, Probed]]:
    """Return what is known of the same configuration at other loads: each result's own figures, and its probes."""
    found = []
    for result in trial.siblings:
        if _but_amount(result.load) != _but_amount(trial.case.load):
            continue
        if result.metrics:
            found.append((result, Probed(result.load, result.metrics, "")))
        found += [(result, probe) for probe in result.probes]
    return found


def _but_amount(load: Load) -> Load:
    """Return a load without what says how much of it there is, where that is a number."""
    rate = 1.0 if load.open_loop and isinstance(load.rate, int | float) else load.rate
    return replace(load, concurrency=1, rate=rate)
