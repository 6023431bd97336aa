"""The time that a search may take."""

from __future__ import annotations

from pytest_triton.quantities import Unit, show
from pytest_triton.search.selection import Status
from pytest_triton.search.strategies.base import Drop, Trial

_SHARE = 0.25
_MOST = 60.0
"""Of a search's budget its end gets so much, as a fraction, and at most so many seconds."""


def for_candidates(budget: float) -> float:
    """Return how many of a search's ``budget`` seconds its candidates may use; the rest is for the confirmation."""
    return budget - min(_SHARE * budget, _MOST)


def out_of_time(trial: Trial, budget: float | None) -> Drop | None:
    """Drop a candidate of which nothing is known at its own load when the candidates' share of the budget is used up.

    ``budget`` is in seconds; None has no end.
    """
    if budget is None or trial.elapsed < for_candidates(budget) or _is_known(trial):
        return None
    return Drop(Status.SKIPPED, f"the budget of {show(budget, Unit.SECONDS)} is used up, but for the confirmation")


def is_over(trial: Trial, budget: float | None) -> bool:
    """Tell whether the candidate has to do with the probes that it had."""
    return budget is not None and trial.elapsed >= for_candidates(budget) and bool(trial.probes)


def _is_known(trial: Trial) -> bool:
    """Whether one of the candidate's probes may stand for it: one at its own load, where that is not looked for."""
    load = trial.case.load
    return any("auto" in (load.concurrency, load.rate) or probe.load == load for probe in trial.probes)
