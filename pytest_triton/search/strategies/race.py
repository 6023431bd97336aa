"""The default strategy: short probes first, and longer ones only for whom they may make the winner.

Before a candidate is deployed it is dropped when what is known of the same configuration at other loads says that it
cannot win: the plateau is reached, a smaller load missed the SLO, or a larger one had less throughput than another
candidate. Then its two ends are probed, one request in flight and saturated, and it is dropped when its throughput at
best is below that of the best so far, or its latency at best misses the SLO. For the others the load is looked for
that serves the objective best (``climb``), and who may lead is measured once more there, for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pytest_triton.case import Load
from pytest_triton.metrics import Better
from pytest_triton.search.objective import Objective
from pytest_triton.search.probed import Probed, show_load
from pytest_triton.search.selection import NEAR, Result, Status, rank
from pytest_triton.search.strategies.base import Drop, Keep, Probe, Step, Trial
from pytest_triton.search.strategies.budget import is_over, out_of_time
from pytest_triton.search.strategies.climb import GAIN, Climb, amount, guess_saturation, saturates
from pytest_triton.search.strategies.efforts import effort_at, long_for
from pytest_triton.search.strategies.prospects import Prospects, beaten_by, siblings, stretch, stretched

_NARROW, _WIDE = 0.01, 0.05
"""Half widths of an interval, as a share of its value: a longer probe would tell little more; it must tell more."""
_FLAT_AT_MOST = 1.10
"""What twice the load may gain at most, by its interval, for one step to be a plateau; else it takes two steps."""


@dataclass(frozen=True, slots=True)
class Race:
    """Spend time where the winner may be, until ``budget`` seconds are used up (None: no end)."""

    budget: float | None = None
    name: str = "race"

    def step(self, trial: Trial) -> Step:
        """Drop the candidate, probe it once more, or keep what was found."""
        over = out_of_time(trial, self.budget) or (None if trial.probes else foresee(trial))
        if over is not None:
            return over
        climb = climb_of(trial)
        if trial.probes and is_over(trial, self.budget):
            return conclude(trial, climb.choose(trial.probes))
        if is_declared(trial.case.load):
            return _step_declared(trial)
        hopeless = give_up(trial)
        if hopeless is not None:
            return hopeless
        if trial.probes and _is_doubtful(trial, trial.probes[-1]):
            return Probe(trial.probes[-1].load, long_for(trial.case.slo))
        if is_settled(climb, trial.probes):
            return conclude(trial, len(trial.probes) - 1)
        load = climb.next(trial.probes)
        if load is not None:
            return Probe(load, effort_at(load))
        return _finish(trial, climb.choose(trial.probes))


def climb_of(trial: Trial) -> Climb:
    """Return how the load of the candidate is looked for."""
    return Climb(
        trial.case.load,
        trial.case.slo,
        trial.settings.objective,
        saturation=_saturation(trial),
        delay=trial.queue_delay,
        instances=trial.instances,
    )


def is_settled(climb: Climb, probes: Sequence[Probed]) -> bool:
    """Tell whether the last probe was one more at the load that was found, and keeps the SLO there.

    A throughput that came out otherwise moves the load no more.
    """
    again = any(probe.load == probes[-1].load for probe in probes[:-1])
    return again and climb.keeps(probes[-1]) and climb.next(probes[:-1]) is None


def is_declared(load: Load) -> bool:
    """Tell whether nothing about a load is to be looked for."""
    return "auto" not in (load.concurrency, load.rate)


def conclude(trial: Trial, place: int) -> Step:
    """Keep the probe at ``place``: as the candidate's result, or as what shows that it misses its SLO."""
    probe = trial.probes[place]
    if not probe.valid:
        return Keep(place, Status.ERROR, probe.reason)
    missed = probe.missed(trial.case.slo)
    if missed is not None:
        return Keep(place, Status.INFEASIBLE, f"misses {probe.show_miss(missed)}")
    if probe.verdict == "FAIL":
        return Keep(place, Status.INFEASIBLE, probe.reason)
    return Keep(place)


def _saturation(trial: Trial) -> int:
    size = trial.case.load.batch_size
    return guess_saturation(trial.instances, trial.max_batch_size, size, batching=trial.batching)


def _factor(trial: Trial) -> float:
    return stretch(len(trial.results) + trial.left)


# Before it is deployed


def foresee(trial: Trial) -> Drop | None:
    """Drop a candidate that cannot win by what is known of its configuration at other loads; else return None."""
    load = trial.case.load
    if not is_declared(load):
        return None
    known = siblings(trial)
    if not known:
        return None
    return _too_much_already(trial, known) or _flat(trial, known) or _beaten_elsewhere(trial, known)


def _too_much_already(trial: Trial, known: Sequence[tuple[Result, Probed]]) -> Drop | None:
    """Latency grows with the load: what a smaller one missed by all of its interval, this one misses too."""
    for result, probe in known:
        missed = probe.surely_missed(trial.case.slo, delay=trial.queue_delay)
        if missed is not None and amount(probe.load) <= amount(trial.case.load):
            return Drop(Status.INFEASIBLE, f"{result.id} misses {probe.show_miss(missed)}, with less load")
    return None


def _flat(trial: Trial, known: Sequence[tuple[Result, Probed]]) -> Drop | None:
    """More load than on the plateau is only more waiting."""
    if not saturates(trial.settings.objective):
        return None
    load = trial.case.load
    points = {
        amount(probe.load): (result, probe)
        for result, probe in known
        if amount(probe.load) < amount(load) and "throughput" in probe.metrics and probe.valid
    }
    steps = list(pairwise(points[each] for each in sorted(points)))[-2:]
    if not steps:
        return None
    top = max(
        (probe.throughput for _, probe in known if probe.valid and amount(probe.load) >= amount(load)), default=0.0
    )
    if top >= GAIN * steps[-1][1][1].throughput:
        # One probe at a larger load has shown that there is more to come.
        return None
    gains = [after.throughput / max(before.throughput, 1e-9) for (_, before), (_, after) in steps]
    (_, before), (result, after) = steps[-1]
    high = after.metrics["throughput"].high
    surely = high is not None and high <= _FLAT_AT_MOST * before.throughput
    if gains[-1] < GAIN and (surely or (len(gains) == 2 and gains[0] < GAIN)):
        loads = f"from {show_load(before.load)} to {show_load(after.load)}"
        reason = f"plateau: {result.id} {_describe_change(gains[-1] - 1)} in throughput {loads}"
        return Drop(Status.SKIPPED, reason)
    return None


def _describe_change(gain: float) -> str:
    percent = round(100 * gain)
    return f"gained {percent} %" if percent > 0 else f"lost {-percent} %" if percent else "gained nothing"


def _beaten_elsewhere(trial: Trial, known: Sequence[tuple[Result, Probed]]) -> Drop | None:
    prospects = _prospects(trial, [probe for _, probe in known], load=trial.case.load)
    return _dominated(trial, prospects)


# At a declared load


def _step_declared(trial: Trial) -> Step:
    load = trial.case.load
    own = [place for place, probe in enumerate(trial.probes) if probe.load == load]
    if not own:
        scout = _scout(trial)
        if scout is not None:
            return Probe(scout, effort_at(scout))
        if trial.probes:
            dropped = _dominated(trial, _prospects(trial, trial.probes, saturation=amount(trial.probes[0].load)))
            if dropped is not None:
                return dropped
            if len(trial.probes) == 1 and _is_behind(trial, trial.probes[0]):
                # Once more, to be sure, costs less than all the loads below.
                return Probe(trial.probes[0].load, long_for(trial.case.slo))
        return Probe(load, effort_at(load))
    probe = trial.probes[own[0]]
    if len(own) == 1 and (_is_doubtful(trial, probe) or (_is_at_best(trial, probe) and _may_lead(trial, probe))):
        return Probe(load, long_for(trial.case.slo))
    return conclude(trial, own[-1])


def _is_behind(trial: Trial, probe: Probed) -> bool:
    """Whether a probe at the largest load lies behind the best candidate by what is hardly chance."""
    objective = trial.settings.objective
    ours, (leader, *_) = objective.value(probe.metrics, trial.instances), rank(trial.results, objective)
    theirs = leader.value(objective)
    return ours is not None and theirs is not None and ours.value < (1 - NEAR) * theirs.value


def _is_at_best(trial: Trial, probe: Probed) -> bool:
    """Whether a declared load may be the one that stands for its configuration, and none before it did.

    While throughput grows with the load, a larger one will; and which of the loads on a plateau it is matters little:
    they are told apart at the end of the search, if that configuration comes there.
    """
    if not saturates(trial.settings.objective):
        return True
    known = siblings(trial)
    if any(result.status is Status.MEASURED and _was_long(result) for result, _ in known):
        return False
    most = max((amount(each) for each in trial.loads if is_declared(each)), default=amount(probe.load))
    before = max(
        (each.throughput for _, each in known if each.valid and amount(each.load) < amount(probe.load)), default=0
    )
    return amount(probe.load) >= most or probe.throughput < GAIN * before


def _was_long(result: Result) -> bool:
    return sum(1 for probe in result.probes if probe.load == result.load) > 1


def _scout(trial: Trial) -> Load | None:
    """Return the largest load that was declared for the configuration, where one probe there may spare all others."""
    objective = trial.settings.objective
    load = trial.case.load
    if trial.probes or not trial.results or not saturates(objective) or not rank(trial.results, objective):
        return None
    known = siblings(trial)
    most = max((each for each in trial.loads if is_declared(each)), key=amount, default=load)
    alike = replace(most, concurrency=load.concurrency) == load
    if known or most.open_loop or not alike or amount(most) < 2 * amount(load):
        return None
    return most


# At a load that is looked for


def give_up(trial: Trial) -> Step | None:
    """Drop a candidate whose first probes show that it cannot win; None where they do not."""
    for place, probe in enumerate(trial.probes):
        if probe.load.open_loop or probe.load.concurrency != 1:
            continue
        if not probe.valid:
            return Keep(place, Status.ERROR, probe.reason)
        missed = probe.surely_missed(trial.case.slo, delay=trial.queue_delay)
        if missed is not None:
            return Keep(place, Status.INFEASIBLE, f"misses {probe.show_miss(missed)}, so with any load")
    if not trial.probes:
        return None
    return _dominated(trial, _prospects(trial, trial.probes))


def _prospects(
    trial: Trial, probes: Sequence[Probed], *, load: Load | None = None, saturation: float | None = None
) -> Prospects:
    return Prospects(
        probes,
        trial.case.slo,
        saturation=_saturation(trial) if saturation is None else saturation,
        instances=trial.instances,
        delay=trial.queue_delay,
        factor=_factor(trial),
        load=load,
    )


def _dominated(trial: Trial, prospects: Prospects) -> Drop | None:
    objectives = trial.settings.objectives
    best = [prospects.best(each) for each in objectives]
    winner = beaten_by(best, trial.results, objectives, _factor(trial))
    if winner is None:
        return None
    return Drop(Status.SKIPPED, f"dominated by {winner.id}: {_at_best(objectives[0], best[0])}")


def _at_best(objective: Objective, best: float | None) -> str:
    word = "at most" if objective.better is Better.HIGHER else "at least"
    return f"{objective.name} {word} {objective.show(best)}"


def _finish(trial: Trial, chosen: int) -> Step:
    probe = trial.probes[chosen]
    again = sum(1 for each in trial.probes if each.load == probe.load)
    if again == 1 and probe.valid and (_is_doubtful(trial, probe) or _may_lead(trial, probe)):
        return Probe(probe.load, long_for(trial.case.slo))
    return conclude(trial, chosen)


def _is_doubtful(trial: Trial, probe: Probed) -> bool:
    """Whether a probe misses its SLO by its value but not by all of its interval, and was not repeated yet."""
    slo, delay = trial.case.slo, trial.queue_delay
    if not probe.valid or probe.missed(slo, delay=delay) is None or probe.surely_missed(slo, delay=delay) is not None:
        return False
    return sum(1 for each in trial.probes if each.load == probe.load) == 1


def _may_lead(trial: Trial, probe: Probed) -> bool:
    """Whether the candidate may be the best one so far, and a longer probe would tell more about that."""
    if not probe.valid or probe.missed(trial.case.slo) is not None:
        return False
    return any(_is_open(trial, probe, objective) for objective in trial.settings.objectives)


def _is_open(trial: Trial, probe: Probed, objective: Objective) -> bool:
    ours = objective.value(probe.metrics, trial.instances)
    if ours is None or ours.low is None or ours.high is None:
        return True
    width = (ours.high - ours.low) / 2 / max(ours.value, 1e-12)
    ranked = rank(trial.results, objective)
    theirs = ranked[0].value(objective) if ranked else None
    if theirs is None:
        return width > _WIDE
    factor, side = _factor(trial), 1 if objective.better is Better.HIGHER else -1
    best, their_worst = stretched(ours, side, factor), stretched(theirs, -side, factor)
    if best is not None and their_worst is not None and side * best < side * their_worst:
        return False
    worst, their_best = stretched(ours, -side, factor), stretched(theirs, side, factor)
    leads = worst is not None and their_best is not None and side * worst > side * their_best
    return width > (_WIDE if leads else _NARROW)
