"""Two deployments measured in alternation on one server: how they differ, with an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_triton.blocks import Bout, Contender, Pace, Side
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.load.base import Engine
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Better, Estimate, Metric
from pytest_triton.rounds import Rounds, Watch
from pytest_triton.search.contest import FLOOR, Contest
from pytest_triton.search.objective import Objective, objective
from pytest_triton.server.base import Server
from pytest_triton.verdict import Outcome

PAIRS = 8
"""Pairs of blocks in a comparison. At 8 the interval comes from Student's t (PROTOCOL: comparing two candidates)."""
LOOKS = 3
"""Planned looks of a comparison that stops as soon as it is decided: at 8, 16 and 32 pairs."""
SECONDS = 1.0
"""Length of a block, but for its warm-up."""
TOLERANCE = 0.05
"""By how much a metric may get worse, as a fraction of what it was."""

__all__ = ["Comparison", "Contender", "compare", "judge_change"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How ``second`` compares to ``first``.

    ``deployment`` is ``second``'s.
    ``gain`` is by how much ``second`` is better, as a fraction of ``first``: 0.67 is 67 % more throughput, or
    a latency that is lower by that much. Its interval holds at all planned looks together. ``pairs`` is how many were
    measured.
    """

    first: Measurement
    second: Measurement
    gain: Estimate
    deployment: Deployment
    pairs: int = PAIRS


def compare(
    server: Server,
    engine: Engine,
    deployer: Deployer,
    first: Contender,
    second: Contender,
    by: Metric | Objective,
    *,
    pairs: int = PAIRS,
    looks: int = 1,
    settled: Callable[[Estimate], bool] | None = None,
    seconds: float = 0.0,
    seed: int = 0,
    watch: Watch | None = None,
) -> Comparison:
    """Measure both in ``pairs`` blocks of ``seconds`` each (0: ``SECONDS``), in random order within a pair.

    A block of a load that changes lasts a whole cycle of it at least.

    With several ``looks`` the pairs double from one to the next (8, 16, 32), until ``settled`` says of the gain that it
    decides; each look has its share of the interval's error. Every block has fresh connections. See ``Rounds`` for the
    order, which is drawn from ``seed``, and ``watch``.
    """
    by = by if isinstance(by, Objective) else objective(by.name)
    bout = Bout(server, engine, deployer, by, Pace(seconds or SECONDS, warmup=0.2))
    sides = [Side(first), Side(second)]
    contest = Contest(by, costs=(0, 0), looks=[pairs * 2**look for look in range(looks)])
    rounds = Rounds(contest, sides, bout, watch, seed)
    for most in contest.looks:
        rounds.reach(most, (0, 1))
        if settled is not None and settled(contest.gain(1)):
            break
    deployment = sides[1].deployment
    assert deployment is not None
    return Comparison(
        sides[0].measurement(), sides[1].measurement(), contest.gain(1), deployment, len(contest.values[0])
    )


def judge_change(gain: Estimate, by: Metric, *, tolerance: float = TOLERANCE, floor: float = FLOOR) -> Outcome:
    """Say whether a comparison shows ``by`` to have got worse by more than ``tolerance`` allows.

    PASS when it is not worse by more than ``tolerance``, whichever value of the interval is true; FAIL when it is worse
    by more than ``floor`` whichever is true, and by more than ``tolerance`` as some would have it; else INCONCLUSIVE.
    Both are fractions of the first's value. ``floor`` is what a configuration differs from itself by on this machine.
    """
    if gain.low is None or gain.high is None:
        return Outcome.INCONCLUSIVE
    # As a ratio that is above 1 when the second is worse.
    ends = (1 - gain.high, 1 - gain.low) if by.better is Better.LOWER else (1 / (1 + gain.high), 1 / (1 + gain.low))
    best, worst = ends
    if worst <= 1 + tolerance:
        return Outcome.PASS
    return Outcome.FAIL if best > 1 + floor else Outcome.INCONCLUSIVE
