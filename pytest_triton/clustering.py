"""How many independent requests a correlated sample is worth: pure functions on arrays.

Under queueing slow requests come in clusters, so that n of them say less than n independent ones would. 20 batches tell
how much less (``inflation``). Latencies are in seconds, in the order of completion, infinite where a request failed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BATCHES = 20

_TAIL = 3 * BATCHES
"""Exceedances that say how a sample's tail clusters."""
_LONG = 100 * BATCHES
"""Requests from which on batches are long enough to hold a spell of waiting."""
_SLOW = 0.8
"""The quantile beyond which requests are slow enough to tell of spells of waiting, and many enough to tell it well."""
_BY_CHANCE = 0.25
"""An autocorrelation of batch means that says nothing yet."""
_MOST_CORRELATED = 0.95


def batch_means(values: NDArray[Any], batches: int = BATCHES) -> Floats:
    """Return the means of ``batches`` consecutive parts of nearly equal size. Needs a value for every part."""
    edges = np.linspace(0, len(values), batches + 1).astype(np.int64)
    means: Floats = np.add.reduceat(values.astype(np.float64), edges[:-1]) / np.diff(edges)
    return means


def inflation(over: Flags, latencies: Floats | None = None, p: float = 0.5) -> float:
    """Return how many observed requests are worth one independent request, as a cautious bound, at least 1.

    ``over`` flags the requests beyond a bound. The ratio of the batch fractions' variance to that of independent
    flags is tau = (n/b) Var(m_j) / (theta (1 - theta)), theta the fraction over (batch means: Law & Kelton,
    "Simulation Modeling and Analysis"); returned is its upper 90 % bound, tau (b-1) / chi2_{0.10, b-1}, times what
    neighbouring batches share (``_carried_over``).
    With too few flags on one side (fewer than b, or 3 b in a sample whose batches are shorter than 100 requests and may
    be shorter than a busy spell of several servers) it is the largest of three: of the flags themselves, of the
    exceedances of the sample's own p-quantile (or of a lower one that at least 3 b exceed: how fewer of them cluster
    could not be told), and of those of its 0.8-quantile. Requests that waited come in spells; those of long service do
    not, and where they are the tail of the sample, they would hide the spells.
    ``latencies`` None says that there is no such second series: then a sample without flags counts as independent.
    """
    size = len(over)
    if size < BATCHES:
        return _chi2_factor()
    some = int(np.count_nonzero(over))
    found = [_clustering(over)]
    few = BATCHES if size >= _LONG else _TAIL
    if latencies is not None and min(some, size - some) < few:
        own = min(p, max(0.5, 1 - _TAIL / size))
        found += [_clustering(_slowest(latencies, level)) for level in (own, min(own, _SLOW))]
    known = [tau for tau in found if tau is not None]
    if not known:
        return 1.0 if latencies is None else _chi2_factor()
    return max(1.0, max(known) * _chi2_factor())


def _slowest(latencies: Floats, level: float) -> Flags:
    own = quantile(latencies, level)
    slow: Flags = latencies > own
    # The largest value is a tie; its own occurrences say how it clusters.
    return slow if slow.any() else latencies >= own


def _clustering(flags: Flags) -> float | None:
    """Return tau, with what neighbouring batches share; None when all flags are alike."""
    size, some = len(flags), int(np.count_nonzero(flags))
    if some in (0, size):
        return None
    theta, means = some / size, batch_means(flags)
    return size / BATCHES * float(np.var(means, ddof=1)) / (theta * (1 - theta)) * _carried_over(means)


def _carried_over(means: Floats) -> float:
    """Return by how much correlation between batches inflates the variance of their mean: (1 + r) / (1 - r).

    Batches shorter than the memory of a queue are not independent, and their variance alone tells too little. r is
    their first autocorrelation (Law & Kelton), corrected for its bias of -1/b; below 0.25, which independent batches
    exceed about once in seven times, it does not count. By simulation (``benchmarks/protocol.py``) this takes false
    FAILs at a load of 0.85 to 0.95 from 3 to 9 % down to 0 to 3 %.
    """
    centred = means - means.mean()
    r = float(centred[:-1] @ centred[1:] / (centred @ centred)) + 1 / len(means) if centred.any() else 0.0
    if r <= _BY_CHANCE:
        return 1.0
    r = min(r, _MOST_CORRELATED)
    return (1 + r) / (1 - r)


def _chi2_factor() -> float:
    from scipy.special import chdtri

    return float((BATCHES - 1) / chdtri(BATCHES - 1, 0.90))


def first_look_factor() -> float:
    """Return how many times the smallest effective sample a first look should see.

    Even independent requests come out inflated by the caution in ``inflation``, by about this much.
    """
    return _chi2_factor()


def effective(size: int, factor: float) -> int:
    """Return how many independent requests ``size`` observed ones are worth, at least 1."""
    return max(1, math.floor(size / max(1.0, factor)))


def quantile(latencies: Floats, p: float) -> float:
    """Return the smallest latency that a fraction ``p`` of the sample does not exceed. No interpolation."""
    return float(np.partition(latencies, rank(len(latencies), p))[rank(len(latencies), p)])


def rank(size: int, p: float) -> int:
    """Return the place, from 0, of the p-quantile among ``size`` ordered values."""
    return min(max(math.ceil(size * p - 1e-9), 1), size) - 1
