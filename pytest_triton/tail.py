"""Where the time of the slowest requests went, as far as it can be told.

Triton reports means only, never what a single request took where. But it can be read again and again while the load
runs, and what each request took altogether is in the trace. Let the slowest requests spend a share t of their latency
in a part (the queue, say), and the others c + g x their latency. Then the mean of that part over a stretch of the
measurement is

    c (1 - s) + g F + t S,

s the share of its requests that are among the slowest, F and S what the others and the slowest took altogether, divided
by the number of all its requests. All three are known, so that weighted least squares over many stretches estimate t:
ecological regression (Goodman, American Journal of Sociology 64, 1959). The parts add up to the latency in every
stretch, and so the shares add up to 1. It takes t, g and c to be the same in every stretch, which nothing can show; how
far the stretches scatter about the fit is the error that is told, and where that is not small, nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_triton.breakdown import split
from pytest_triton.measurement import Measurement
from pytest_triton.observation import OK, ServerStatistics, Stretch, Trace
from pytest_triton.series import latencies

if TYPE_CHECKING:
    from pytest_triton.clustering import Floats

FRACTION = 0.05
"""The slowest requests are so many of all."""
_FEWEST_STRETCHES = 10
_FEWEST_REQUESTS = 10
"""Slowest requests that it takes to say anything of them."""
_DEPENDENT = 1e8
"""Condition number from which on the columns of a fit count as dependent."""
_ASTRAY, _ASTRAY_SHARE = 8, 0.25
"""By how many requests, or which share of a stretch's, the server's count may differ from the trace's at a moment."""
_LARGEST_ERROR = 0.10
"""Two standard errors of a share, at most, for the shares to be told."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What the slowest ``fraction`` of the requests consist of: each component's share of their ``mean`` latency.

    ``error`` is two standard errors of the least certain share, ``stretches`` how many the estimate is made from.
    """

    fraction: float
    mean: float
    shares: Mapping[str, float]
    error: float
    stretches: int


def estimate_tail(measurement: Measurement) -> Tail | None:
    """Estimate where the time of the slowest 5 % of the successful requests went; None where that cannot be told."""
    import numpy as np

    trace = measurement.trace
    if trace is None or trace.windows > 1 or not (good := trace.status == OK).any():
        return None
    took = latencies(trace)
    slow = good & (took > np.quantile(took[good], 1 - FRACTION))
    cuts = _cut(trace, measurement.stretches)
    if slow.sum() < _FEWEST_REQUESTS or len(cuts) < _FEWEST_STRETCHES:
        return None
    mean = float(took[slow].mean())
    rows, weights, parts = [], [], []
    for requests, statistics in cuts:
        of, among = good[requests], slow[requests]
        count = float(of.sum())
        if not count or statistics.success_count <= 0:
            continue
        altogether, slowest = float(took[requests][of].sum()), float(took[requests][among].sum())
        rows.append([1 - among.sum() / count, (altogether - slowest) / count, slowest / count])
        weights.append(count)
        parts.append(split(statistics, altogether / count))
    if len(rows) < _FEWEST_STRETCHES:
        return None
    labels = list(parts[0])
    fitted = _fit_last(
        np.array(rows), np.array(weights), np.array([[part[label] for label in labels] for part in parts])
    )
    if fitted is None:
        return None
    found, errors = fitted
    error = 2 * float(errors.max())
    if error > _LARGEST_ERROR or found.min() < -_LARGEST_ERROR:
        return None
    kept = np.maximum(found, 0.0)
    return Tail(FRACTION, mean, dict(zip(labels, (kept / kept.sum()).tolist(), strict=True)), error, len(rows))


def _cut(trace: Trace, stretches: Sequence[Stretch]) -> list[tuple[slice, ServerStatistics]]:
    """Return which requests of the trace the server counted in each stretch.

    By the server's own count, because a slow request on the wrong side of a cut would spoil both stretches: the moments
    only say with which request it began. Empty when moments and count do not agree, as where others send requests, too.
    """
    import numpy as np

    within = [stretch for stretch in stretches if trace.started_ns <= stretch.at_ns <= trace.ended_ns]
    if len(within) < 2:
        return []
    counts = [stretch.statistics.success_count + stretch.statistics.fail_count for stretch in within[1:]]
    ends = np.concatenate(([0], np.cumsum(counts)))
    seen = np.searchsorted(trace.done, [stretch.at_ns for stretch in within], side="right")
    offset = round(float(np.median(seen - ends)))
    if np.abs(seen - ends - offset).max() > max(_ASTRAY, _ASTRAY_SHARE * max(counts)):
        return []
    ends = np.clip(ends + offset, 0, len(trace))
    return [
        (slice(int(begin), int(end)), stretch.statistics)
        for begin, end, stretch in zip(ends, ends[1:], within[1:], strict=False)
    ]


def _fit_last(rows: Floats, weights: Floats, values: Floats) -> tuple[Floats, Floats] | None:
    """Fit each column of ``values`` by the columns of ``rows``; return the last one's coefficients and their errors.

    None when the columns of ``rows`` depend on each other, so that nothing tells them apart.
    """
    import numpy as np

    scale = np.sqrt((weights[:, None] * rows**2).sum(axis=0))
    if not scale.all():
        return None
    scaled = rows / scale
    normal = scaled.T @ (weights[:, None] * scaled)
    if np.linalg.cond(normal) > _DEPENDENT:
        return None
    inverse = np.linalg.inv(normal)
    coefficients = inverse @ scaled.T @ (weights[:, None] * values)
    rest = values - scaled @ coefficients
    # Stretches with more of the slowest scatter more, so the errors are HC3's (MacKinnon and White, Journal of
    # Econometrics 29, 1985), which do not take all stretches to scatter alike.
    leverage = weights * np.einsum("ij,jk,ik->i", scaled, inverse, scaled)
    influence = (scaled @ inverse[:, -1] * weights / np.maximum(1 - leverage, 1e-9))[:, None] * rest
    return coefficients[-1] / scale[-1], np.sqrt((influence**2).sum(axis=0)) / scale[-1]
