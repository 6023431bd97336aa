"""The statistics of a measurement: pure functions on arrays.

Latencies are floats in seconds, in the order of completion; a failed request counts as infinitely slow, so it
exceeds every bound. Times that belong together are autocorrelated under queueing, so nothing here takes requests
for independent: ``clustering`` says how many independent requests the n observed ones are worth.

Distributions come from ``scipy.special``: ``scipy.stats`` takes five times as long to import.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_triton.clustering import BATCHES, batch_means, effective, inflation, rank
from pytest_triton.metrics import Estimate

if TYPE_CHECKING:
    from pytest_triton.clustering import Flags, Floats

CONFIDENCE = 0.95
"""Of the two-sided intervals that are shown beside estimates."""

_LEAST_BATCHES_FOR_MSER = 4
_T_PAIRS = 8


# Warm-up


def steady_start(latencies: Floats, batch: int = 5) -> int | None:
    """Return the index from which the series is steady, or None when it is not steady yet.

    MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69,
    1997): with the means Y of consecutive batches of 5, cut where the rest has the smallest
    sum (Y_i - mean)^2 / m^2, m the number of means left. The cut is sought in the first half; if it comes to lie
    at that half's end, the statistic was still falling there, and the series has no steady part yet.
    """
    finite = latencies[np.isfinite(latencies)]
    if not len(finite):
        return 0
    series = np.minimum(latencies, finite.max())
    count = len(series) // batch
    if count < _LEAST_BATCHES_FOR_MSER:
        return 0
    means = series[: count * batch].reshape(count, batch).mean(axis=1)
    means = means - means.mean()  # Differences of large sums lose digits; centred sums are small.
    totals = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(means[::-1] ** 2)[::-1]
    left = np.arange(count, 0, -1)
    statistic = np.maximum(squares - totals**2 / left, 0.0) / left.astype(float) ** 2
    cut = int(np.argmin(statistic[: count // 2 + 1]))
    return None if cut > 0.45 * count else cut * batch


# Estimates with their intervals


def binomial_cdf(over: int, size: int, theta: float) -> float:
    """Return P(X <= over) for X binomial (size, theta)."""
    if over < 0:
        return 0.0
    if over >= size:
        return 1.0
    from scipy.special import bdtr

    return float(bdtr(over, size, theta))


# Estimates with their intervals


def quantile_interval(latencies: Floats, p: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return the p-quantile between two order statistics, chosen for the effective sample.

    (David & Nagaraja, "Order Statistics", 7.1.) An end is None where the effective sample is too small to have one: of
    50 requests, none is an upper end for p99.9. (Sectioning would give one there, but intervals that are too narrow
    where requests queue.) ``latencies`` must hold at least one.
    """
    return quantile_intervals(latencies, (p,), confidence)[0]


def quantile_intervals(latencies: Floats, ps: Sequence[float], confidence: float = CONFIDENCE) -> list[Estimate]:
    """Return ``quantile_interval`` for each of ``ps``, sorting only once."""
    ordered = np.sort(latencies)
    size, tail = len(ordered), (1 - confidence) / 2
    estimates = []
    for p in ps:
        value = float(ordered[rank(size, p)])
        worth = effective(size, inflation(latencies > value, latencies, p))
        lower = _last_rank(worth, p, tail)
        # By symmetry, the upper rank counted from the top is the lower rank of the 1 - p quantile.
        upper = _last_rank(worth, 1 - p, tail)
        low = float(ordered[lower * size // worth - 1]) if lower else None
        high = float(ordered[size - upper * size // worth]) if upper else None
        estimates.append(Estimate(value, low, high))
    return estimates


def _last_rank(size: int, p: float, tail: float) -> int:
    """Return the largest r with P(X <= r - 1) <= tail for X binomial (size, p); 0 when there is none."""
    low, high = 0, size
    while high > low:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if binomial_cdf(middle - 1, size, p) <= tail else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean and its standard error, from ``batches`` batch means. The error is None when it cannot be known."""

    mean: float
    error: float | None
    batches: int

    def bound(self, alpha: float) -> float | None:
        """Return by how much the true mean is off at most, on one side, but for a probability of ``alpha``."""
        if self.error is None:
            return None
        from scipy.special import stdtrit

        return float(stdtrit(self.batches - 1, 1 - alpha)) * self.error

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the mean with its two-sided interval, which never goes below 0."""
        width = self.bound((1 - confidence) / 2)
        if width is None:
            return Estimate(self.mean)
        return Estimate(self.mean, max(0.0, self.mean - width), self.mean + width)


def spread_of_mean(values: Floats) -> Spread:
    """Return the mean of a correlated series and its standard error by batch means. Needs at least one value."""
    size = len(values)
    if size < 2:
        return Spread(float(values.mean()), None, size)
    # Fewer than two values in a batch are no batches; each value then stands for itself.
    batches = BATCHES if size >= 2 * BATCHES else size
    means = batch_means(values, batches)
    return Spread(float(values.mean()), float(means.std(ddof=1)) / math.sqrt(batches), batches)


def mean_interval(values: Floats, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of a correlated series: mean +- t_{b-1} s / sqrt(b) over batch means."""
    return spread_of_mean(values).estimate(confidence)


def spread_of_throughput(done: Floats, start: float, end: float, batch_size: float | Floats = 1) -> Spread:
    """Return inferences per second between ``start`` and ``end`` and the standard error.

    ``done`` are the ascending moments, in seconds, at which requests succeeded, ``batch_size`` what each of them counts
    for, or all of them alike. The window is cut into at most 20
    equal slices of at least three requests. Work is counted as if it grew evenly from one completion to the next, so
    that a completion just beyond a slice's edge makes no difference; the stretch after the last one counts as idle.
    """
    size, seconds = len(done), end - start
    if seconds <= 0:
        return Spread(0.0, None, 0)
    sums = np.cumsum(np.broadcast_to(batch_size, size), dtype=np.float64)
    whole = float(sums[-1]) if size else 0.0
    rate = whole / seconds
    slices = min(BATCHES, size // 3)
    if slices < 2:
        return Spread(rate, None, slices)
    moments = np.concatenate(([start], done, [end]))
    work = np.concatenate(([0.0], sums, [whole]))
    rates = np.diff(np.interp(np.linspace(start, end, slices + 1), moments, work)) * (slices / seconds)
    return Spread(rate, float(rates.std(ddof=1)) / math.sqrt(slices), slices)


def throughput_interval(
    done: Floats, start: float, end: float, batch_size: float | Floats = 1, confidence: float = CONFIDENCE
) -> Estimate:
    """Return inferences per second with their interval; see ``spread_of_throughput``."""
    return spread_of_throughput(done, start, end, batch_size).estimate(confidence)


def proportion_bounds(some: int, size: int, tail: float, factor: float = 1.0) -> tuple[float, float]:
    """Return the lower and upper bound of a proportion, each wrong with probability at most ``tail``.

    Clopper & Pearson, Biometrika 26, 1934, on the effective sample size / factor.
    """
    from scipy.special import betaincinv

    worth, seen = size / max(1.0, factor), some / max(1.0, factor)
    low = 0.0 if some == 0 else float(betaincinv(seen, worth - seen + 1, tail))
    high = 1.0 if some == size else float(betaincinv(seen + 1, worth - seen, 1 - tail))
    return low, high


def proportion_interval(flags: Flags, confidence: float = CONFIDENCE) -> Estimate:
    """Return the share of requests that are flagged, with its interval. Needs at least one request."""
    some, size = int(np.count_nonzero(flags)), len(flags)
    return Estimate(some / size, *proportion_bounds(some, size, (1 - confidence) / 2, inflation(flags)))


def ratio_interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the geometric mean of the ratios of paired blocks, B over A, with its interval.

    Student's t on the logarithms for 8 or more pairs. Below, the interval that the sign-flip permutation test does not
    reject: its ends are order statistics of the means of all subsets of the logarithms (Hartigan, "Using subsample
    values as typical values", JASA 64, 1969); fewer than 6 pairs have no 95 % interval. Ratios must be positive.
    """
    if not ratios or not all(0 < ratio < math.inf for ratio in ratios):
        raise ValueError(f"ratios must be positive and finite, and at least one: {list(ratios)!r}")
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    centre = float(logs.mean())
    low: float | None
    high: float | None
    if len(logs) >= _T_PAIRS:
        spread = Spread(centre, float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs))
        width = spread.bound((1 - confidence) / 2) or 0.0
        low, high = centre - width, centre + width
    else:
        subsets = (s for size in range(1, len(logs) + 1) for s in itertools.combinations(logs.tolist(), size))
        means = sorted(math.fsum(subset) / len(subset) for subset in subsets)
        outside = math.floor((1 - confidence) / 2 * (len(means) + 1) + 1e-9)
        low, high = (means[outside - 1], means[-outside]) if outside else (None, None)
    return Estimate(math.exp(centre), *(None if end is None else math.exp(end) for end in (low, high)))
