"""Who of several finalists is best, from rounds in which each was measured once: looks, early drops, ties.

Two errors are held to 5 % each, over all looks together. The best contender is dropped falsely: it would have to seem
worse than one of the n - 1 others, so that each one-sided comparison gets 1 / (n - 1) of a look's share (subset
selection; Hsu, "Multiple Comparisons", 1996, ch. 4). A gain lies outside of its interval: each finalist's gets 1 / k of
a look's share (Bonferroni), whichever is reported. A look's share is 1 / (number of looks): stopping costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_triton.metrics import Estimate
from pytest_triton.search.objective import Objective
from pytest_triton.statistics import CONFIDENCE, Spread

LOOKS = (4, 8, 16, 32)
"""Rounds after which the figures are looked at. At the first one, losers are dropped and nothing is decided."""
MARGIN = 0.03
"""What does not differ by more than this fraction passes as a tie."""
FLOOR = 0.01
"""What one configuration, loaded twice, may differ from itself by; who is behind by no more is not worse."""
_WIDE = 0.5
"""Width of a gain's interval as a share of the gain, up to which a clear gain needs no more rounds."""
_ERROR = 1 - CONFIDENCE


@dataclass(slots=True)
class Contest:
    """Rounds of contenders: the default configuration, which is number 0, and the finalists.

    ``costs`` are theirs, in anything that compares; a tie goes to the least, and of several to the best of them.
    ``values`` are the objective's by the number of the round, for each contender; contenders are compared over the
    rounds that both were in.
    """

    by: Objective
    costs: Sequence[Any]
    looks: Sequence[int] = LOOKS
    values: list[dict[int, float]] = field(init=False)
    beaten_by: dict[int, int] = field(default_factory=dict)
    """Who was dropped, and whom it lost to."""

    def __post_init__(self) -> None:
        self.values = [{} for _ in self.costs]

    @property
    def active(self) -> list[int]:
        """The contenders that are still measured."""
        return [number for number in range(len(self.costs)) if number not in self.beaten_by]

    @property
    def finalists(self) -> list[int]:
        """Those of them that are not the default configuration."""
        return self.active[1:]

    def drop(self) -> None:
        """Drop the finalists that are shown to be worse than another contender; the last one stays."""
        ranked = sorted(self.finalists, key=self._level)
        for loser in ranked[:-1]:
            others = (rival for rival in self.active if rival != loser)
            rivals = [rival for rival in others if self._lead(rival, loser)[0] > math.log1p(FLOOR)]
            if rivals:
                self.beaten_by[loser] = max(rivals, key=self._level)

    def settled(self) -> bool:
        """Tell whether more rounds would change nothing that matters.

        The leader must be shown to be at most ``MARGIN`` worse than any other, and at most that much better than a
        cheaper one. The gain over the default must be clear, or known to ``MARGIN`` on both sides.
        """
        if len(self.values[0]) < self.looks[min(1, len(self.looks) - 1)]:
            return False
        most = math.log1p(MARGIN)
        leader = self._leader()
        for other in self.finalists:
            if other == leader:
                continue
            low, high = self._lead(leader, other)
            if low < -most or (self.costs[other] < self.costs[leader] and high > most):
                return False
        gain = self.gain(self.order()[0])
        if gain.low is None or gain.high is None:
            return False
        width = gain.high - gain.low
        clear = gain.low > 0 or gain.high < 0
        return width <= 2 * MARGIN or (clear and width <= _WIDE * abs(gain.value))

    def order(self) -> list[int]:
        """Return the finalists by preference, the winner first: those of a tie by their costs, then by their values."""
        tie = self._tie()
        ranked = sorted(range(1, len(self.costs)), key=self._level, reverse=True)
        cheapest = sorted((number for number in ranked if number in tie), key=lambda number: self.costs[number])
        return [*cheapest, *(number for number in ranked if number not in tie)]

    def ties(self) -> list[int]:
        """Return the finalists that pass as no worse and no better than the winner."""
        return [number for number in self._tie() if number != self.order()[0]]

    def gain(self, number: int) -> Estimate:
        """Return by how much a contender is better than the default, with an interval that holds at every look."""
        error = _ERROR / len(self.looks) / max(len(self.costs) - 1, 1)
        return self.by.gain_of(self._quotients(number, 0), 1 - error)

    def _leader(self) -> int:
        return max(self.finalists, key=self._level)

    def _tie(self) -> list[int]:
        """Return the leader, and the finalists left that it leads by ``MARGIN`` at most, or by what may be nothing.

        That is so when the plain 95 % interval of the lead holds 0: what is better by chance is not paid for.
        """
        leader = self._leader()

        def is_near(number: int) -> bool:
            near = self._level(leader) - self._level(number) <= math.log1p(MARGIN)
            return near or self._lead(leader, number, _ERROR / 2)[0] <= 0

        return [number for number in self.finalists if number == leader or is_near(number)]

    def _level(self, number: int) -> float:
        """Return the mean logarithm of how many times better a contender is than the default."""
        logs = self._logs(number, 0)
        return math.fsum(logs) / len(logs) if logs else 0.0

    def _lead(self, one: int, other: int, error: float | None = None) -> tuple[float, float]:
        """Return the bounds of how far, in logarithms, one is ahead of another.

        Each is wrong with probability ``error``; by default that is its share of what all looks have.
        """
        logs = self._logs(one, other)
        if len(logs) < 2:
            return -math.inf, math.inf
        mean = math.fsum(logs) / len(logs)
        deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / (len(logs) - 1))
        spread = Spread(mean, deviation / math.sqrt(len(logs)), len(logs))
        share = _ERROR / len(self.looks) / max(len(self.costs) - 1, 1)
        width = spread.bound(share if error is None else error) or 0.0
        return mean - width, mean + width

    def _logs(self, one: int, other: int) -> list[float]:
        return [math.log(quotient) for quotient in self._quotients(one, other)]

    def _quotients(self, one: int, other: int) -> list[float]:
        first, second = self.values[one], self.values[other]
        return [self.by.quotient(value, second[number]) for number, value in first.items() if number in second]
