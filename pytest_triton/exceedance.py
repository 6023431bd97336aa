"""The test of a bound on a quantile of latency, and how many requests it needs. Pure functions.

The kernel is MLPerf LoadGen's binomial test; what is added is that it sees the effective sample, because the plain
test takes queueing latencies for independent and passes many times more often than it may.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_triton.clustering import BATCHES, effective, inflation
from pytest_triton.statistics import binomial_cdf

if TYPE_CHECKING:
    from pytest_triton.clustering import Floats

_MOST_REQUESTS = 10_000_000
_FAR = 4.0
"""How many times the worst batch's quantile goes into a limit that is far away."""


@dataclass(frozen=True, slots=True)
class QuantileTest:
    """What a sample says about "the p-quantile is at most the limit".

    ``size`` requests, ``over`` of them beyond the limit, are worth ``effective`` independent ones.
    ``kept_p`` is the probability of so few beyond it, were the quantile exactly at the limit; ``missed_p`` of so many.
    ``kept`` is True (shown to hold), False (shown not to hold) or None (neither).
    """

    size: int
    over: int
    inflation: float
    effective: int
    kept_p: float
    missed_p: float
    kept: bool | None


def latency_test(latencies: Floats, limit: float, p: float, *, alpha: float, alpha_fail: float) -> QuantileTest:
    """Test whether the p-quantile of latency is at most ``limit``, at one look.

    The binomial test of MLPerf LoadGen ("early stopping") on the effective sample: kept when
    BinomCDF(ceil(t / tau); n_e, 1 - p) <= alpha, missed when P(X >= floor(t / tau)) <= alpha_fail.
    Kept, too, when it is far below the limit all the time, and missed when it is far above; see ``is_far_below``.
    Flags beyond the limit are enough: latencies may be infinite. An empty sample decides nothing.
    """
    flags = latencies > limit
    size, over = len(flags), int(np.count_nonzero(flags))
    if not size:
        return QuantileTest(0, 0, 1.0, 0, 1.0, 1.0, None)
    factor = inflation(flags, latencies, p)
    worth = effective(size, factor)
    kept_p, missed_p = _tails(over / factor, worth, 1 - p)
    kept = True if kept_p <= alpha or is_far_below(latencies, limit, p) else None
    if kept is None and (missed_p <= alpha_fail or is_far_above(latencies, limit, p)):
        kept = False
    return QuantileTest(size, over, factor, worth, kept_p, missed_p, kept)


def is_far_below(latencies: Floats, limit: float, p: float) -> bool:
    """Tell whether no request came near the limit, in a sample long enough to have met its share of slow ones.

    True when none of at least 20 / (1 - p) requests exceeded it, and the p-quantile of each of 20 batches stays below a
    quarter of it. One slow spell of the machine makes all exceedances of the sample's own quantile one cluster, and
    the effective sample too small for any verdict, be the limit ten times as far away; this rule decides there.
    The factor is from simulation (M/G/1, gamma and bimodal service, four looks): with the true quantile on the limit it
    adds nothing to the false PASSes up to a load of 0.9, and keeps them at 5 % at 0.95; a factor of 2 made that 40 %.
    It is blind, as any rule is, to what the sample has not met: a machine whose speed drifts more slowly than that.
    """
    if len(latencies) * (1 - p) < BATCHES or latencies.max() > limit:
        return False
    return bool(_own_quantiles(latencies, p).max() * _FAR <= limit)


def is_far_above(latencies: Floats, limit: float, p: float) -> bool:
    """Tell whether latency was beyond the limit all the time: the mirror image of ``is_far_below``.

    True when the p-quantile of each of 20 batches is more than four times the limit, in as long a sample. Were the true
    quantile on the limit, every one of the batches would have to be wrong by that much; spells of a busy machine, which
    make the effective sample too small for any verdict, cannot do that.
    """
    return len(latencies) * (1 - p) >= BATCHES and bool(_own_quantiles(latencies, p).min() > _FAR * limit)


def _own_quantiles(latencies: Floats, p: float) -> Floats:
    """Return the p-quantile of each batch."""
    length = len(latencies) // BATCHES
    batches = np.sort(latencies[len(latencies) - BATCHES * length :].reshape(BATCHES, length), axis=1)
    own: Floats = batches[:, min(length - 1, math.ceil(p * length) - 1)]
    return own


def _tails(over: float, size: int, theta: float) -> tuple[float, float]:
    """Return P(X <= ceil(over)) and P(X >= floor(over)) for X binomial (size, theta)."""
    few, many = math.ceil(over - 1e-9), math.floor(over + 1e-9)
    return binomial_cdf(few, size, theta), 1.0 if many == 0 else 1.0 - binomial_cdf(many - 1, size, theta)


def smallest_passing(over: int, p: float, alpha: float) -> int:
    """Return the smallest independent sample that shows the p-quantile kept although ``over`` exceed the limit.

    MLPerf LoadGen publishes the same counts: for p99 at confidence 99 %, 459 with none over and 662 with one.
    """
    return _smallest(lambda size: binomial_cdf(over, size, 1 - p) <= alpha, over + 1) or _MOST_REQUESTS


def minimum_effective(p: float, alpha: float) -> int:
    """Return the effective sample below which no look at ``alpha`` can show a p-quantile kept: ln(alpha) / ln(p)."""
    return math.ceil(math.log(alpha) / math.log(p))


def requests_for_verdict(test: QuantileTest, p: float, *, alpha: float, alpha_fail: float) -> int | None:
    """Return how many more requests would decide, were the share over the limit to stay as it is.

    None when that share is so close to the allowed one that ten million would not.
    """
    if not test.size or test.kept is not None:
        return None if not test.size else 0
    share, theta = test.over / test.size, 1 - p

    def decided(size: int) -> bool:
        kept_p, missed_p = _tails(share * size, size, theta)
        return kept_p <= alpha or missed_p <= alpha_fail

    worth = _smallest(decided, test.effective)
    return None if worth is None else max(1, math.ceil(worth * test.inflation) - test.size)


def _smallest(holds: Callable[[int], bool], start: int) -> int | None:
    """Return the smallest size from ``start`` on that ``holds``, given that it goes on holding; None beyond reason."""
    high = max(1, start)
    if holds(high):
        return high
    while not holds(high):
        high *= 2
        if high > _MOST_REQUESTS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
