"""Two deployments measured in alternation on one server: how they differ, with an interval."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce

from pytest_triton.case import Case
from pytest_triton.composing import Composing, Counting, add_up
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.load.base import Engine
from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import Better, Estimate, Metric
from pytest_triton.observation import ResourceUsage, ServerStatistics, Trace
from pytest_triton.opening import cycle_of, open_load, under_way
from pytest_triton.server.base import Server
from pytest_triton.statistics import CONFIDENCE, ratio_interval
from pytest_triton.verdict import Outcome
from pytest_triton.windows import merge

PAIRS = 8
"""Pairs of blocks in a comparison. At 8 the interval comes from Student's t (PROTOCOL: comparing two candidates)."""
LOOKS = 3
"""Planned looks of a comparison that stops as soon as it is decided: at 8, 16 and 32 pairs."""
SECONDS = 1.0
"""Length of a block, but for its warm-up."""
TOLERANCE = 0.05
"""By how much a metric may get worse, as a fraction of what it was."""
FLOOR = 0.01
"""What two measurements of the same thing may differ by on a quiet machine, as a fraction."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a comparison: a case, and how to make the server serve it now."""

    case: Case
    deploy: Callable[[], Deployment]


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


@dataclass(slots=True)
class _Side:
    contender: Contender
    traces: list[Trace] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    statistics: list[ServerStatistics] = field(default_factory=list)
    composing: list[Composing] = field(default_factory=list)
    before: ResourceUsage | None = None
    after: ResourceUsage | None = None
    cold_start: dict[str, float] = field(default_factory=dict)
    deployment: Deployment | None = None


def compare(
    server: Server,
    engine: Engine,
    deployer: Deployer,
    first: Contender,
    second: Contender,
    by: Metric,
    *,
    pairs: int = PAIRS,
    looks: int = 1,
    settled: Callable[[Estimate], bool] | None = None,
    seconds: float = 0.0,
    seed: int = 0,
    watch: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure both in ``pairs`` blocks of ``seconds`` each (0: ``SECONDS``), in random order within a pair.

    A block of a load that changes lasts a whole cycle of it at least.

    With several ``looks`` the pairs double from one to the next (8, 16, 32), until ``settled`` says of the gain that it
    decides; each look has its share of the interval's error.

    Every block has fresh connections. The order is drawn from ``seed``. ``watch`` is told how many blocks of how many
    are done. (Randomized multiple interleaved trials: Abedi & Brecht, ICPE 2017.)
    """
    order = random.Random(seed)
    sides = [_Side(first), _Side(second)]
    for look in range(looks):
        most = pairs * 2**look
        for pair in range(pairs * 2 ** (look - 1) if look else 0, most):
            turn = [0, 1]
            order.shuffle(turn)
            for done, index in enumerate(turn):
                _run_block(server, engine, deployer, sides[index], by, seconds or SECONDS)
                if watch is not None:
                    watch(2 * pair + done + 1, 2 * most)
        # A value of 0 (no request served) has no logarithm; a tiny one makes the ratio what it is: hopeless.
        ratios = [max(b, 1e-12) / max(a, 1e-12) for a, b in zip(sides[0].values, sides[1].values, strict=True)]
        gain = _gain(ratio_interval(ratios, 1 - (1 - CONFIDENCE) / looks), by)
        if settled is not None and settled(gain):
            break
    deployment = sides[1].deployment
    assert deployment is not None
    return Comparison(_measurement(sides[0]), _measurement(sides[1]), gain, deployment, len(ratios))


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


def _run_block(server: Server, engine: Engine, deployer: Deployer, side: _Side, by: Metric, seconds: float) -> None:
    case = side.contender.case
    deployment = side.contender.deploy()
    verified = deployer.prepare(deployment, case)
    side.cold_start, side.deployment = deployer.cold_start(deployment), deployment
    seconds = max(seconds, cycle_of(case.load))
    with open_load(server, engine, case, deployment, verified, workers=engine.workers or 1) as session:
        session.start()
        session.collect(seconds=0.2, requests=2 * under_way(case.load), limit=5.0)
        counting, usage = Counting(server.control, deployment.name), server.usage()
        trace = session.collect(seconds=seconds, requests=10, limit=10 * seconds)
        counted, composing = counting.look()
        side.statistics.append(counted)
        side.composing.append(composing)
        # Both may be loaded at once, so the memory in use belongs to neither.
        side.before, side.after = (replace(each, rss=None, gpu_memory=None) for each in (usage, server.usage()))
        session.stop()
    server.check()
    side.traces.append(trace)
    estimate = measure_trace(trace, batch_size=case.load.batch_size).metrics.get(by.name)
    side.values.append(estimate.value if estimate is not None else 0.0)


def _measurement(side: _Side) -> Measurement:
    return measure_trace(
        merge(side.traces),
        batch_size=side.contender.case.load.batch_size,
        statistics=reduce(ServerStatistics.plus, side.statistics),
        before=side.before,
        after=side.after,
        extras=side.cold_start,
        composing=add_up(side.composing),
        slo=side.contender.case.slo,
    )


def _gain(ratio: Estimate, by: Metric) -> Estimate:
    def shift(value: float | None) -> float | None:
        if value is None:
            return None
        return value - 1 if by.better is Better.HIGHER else 1 - value

    value = shift(ratio.value)
    assert value is not None
    ends = shift(ratio.low), shift(ratio.high)
    return Estimate(value, *(ends if by.better is Better.HIGHER else reversed(ends)))
