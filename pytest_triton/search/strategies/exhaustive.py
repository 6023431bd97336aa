"""Measure every candidate alike."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_triton.search.strategies.base import Effort, Probe, Step, Trial
from pytest_triton.search.strategies.budget import is_over, out_of_time
from pytest_triton.search.strategies.efforts import effort_at
from pytest_triton.search.strategies.race import climb_of, conclude, is_declared, is_settled

FULL = Effort(seconds=1.2, requests=32, limit=6.0, warmup=0.5)
"""Enough to tell a leader from the rest; who wins is measured anew."""


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Measure every candidate with the same effort, until ``budget`` seconds are used up (None: no end).

    A load of ``auto`` is looked for with short probes.
    """

    effort: Effort = FULL
    budget: float | None = None
    name: str = "exhaustive"

    def step(self, trial: Trial) -> Step:
        """Probe at the declared load, or where the climb ends, with the full effort."""
        over = out_of_time(trial, self.budget)
        if over is not None:
            return over
        climb = climb_of(trial)
        if is_declared(trial.case.load):
            return conclude(trial, 0) if trial.probes else Probe(trial.case.load, self.effort)
        if is_over(trial, self.budget):
            return conclude(trial, climb.choose(trial.probes))
        if trial.probes and is_settled(climb, trial.probes):
            return conclude(trial, len(trial.probes) - 1)
        following = climb.next(trial.probes)
        if following is not None:
            return Probe(following, effort_at(following))
        chosen = climb.choose(trial.probes)
        probe = trial.probes[chosen]
        again = any(other is not probe and other.load == probe.load for other in trial.probes)
        return Probe(probe.load, self.effort) if probe.valid and not again else conclude(trial, chosen)
