"""Measure every candidate alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_triton.quantities import Unit, show
from pytest_triton.search.selection import Result
from pytest_triton.search.strategies.base import Decision, Measure, Skip

EFFORT = Measure(seconds=1.2, requests=32, limit=6.0)
"""Enough to tell a leader from the rest; who wins is measured anew."""


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Measure every candidate with the same effort, until ``budget`` seconds are used up (None: no end)."""

    effort: Measure = EFFORT
    budget: float | None = None
    name: str = "exhaustive"

    def decide(self, results: Sequence[Result], *, elapsed: float) -> Decision:
        """Measure, unless the budget is used up."""
        if self.budget is not None and elapsed >= self.budget:
            return Skip(f"the budget of {show(self.budget, Unit.SECONDS)} is used up")
        return self.effort
