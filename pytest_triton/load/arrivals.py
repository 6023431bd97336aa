"""When the requests of an open loop are due. Standard library only: the workers import this.

Arrivals are the points of a process of rate one, carried over to the load's time by the inverse of its cumulated rate
(Lewis and Shedler, Naval Research Logistics 26, 1979): any rate, constant or not, costs one square root per request.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence

_SECOND = 1e9


def due_times(
    *,
    phases: Sequence[Sequence[float]] = (),
    constant: bool = False,
    intervals: Sequence[int] = (),
    seed: int = 0,
    part: int = 0,
    parts: int = 1,
) -> Iterator[int]:
    """Yield the ns from the load's start at which each request is due, without end, never going back.

    ``phases`` are ``(seconds, first rate, last rate)`` and begin anew after the last; one of infinite length is a
    constant rate. Arrivals are Poisson's, drawn from ``seed``, or evenly spaced if ``constant``. ``intervals``, in
    microseconds, take the place of the phases, and begin anew after the last. Of several ``parts`` that share the load,
    this one gets every ``parts``-th arrival: all parts together make the same arrivals as one alone.
    """
    if intervals:
        whole: Iterable[int] = itertools.accumulate(us * 1000 for us in itertools.cycle(intervals))
    else:
        whole = _in_time(_points(constant, seed), phases)
    return itertools.islice(whole, part, None, parts)


def _points(constant: bool, seed: int) -> Iterator[float]:
    """Yield the points of a process of rate one."""
    if constant:
        yield from map(float, itertools.count())
    draw = random.Random(seed).expovariate
    point = 0.0
    while True:
        point += draw(1.0)
        yield point


def _in_time(points: Iterator[float], phases: Sequence[Sequence[float]]) -> Iterator[int]:
    """Yield the times in ns by which as many arrivals are expected as each point says."""
    point, before, start = next(points), 0.0, 0.0
    for seconds, first, last in itertools.cycle(phases):
        expected = (first + last) / 2 * seconds
        slope = 0.0 if first == last else (last - first) / seconds
        # The first arrival of a phase belongs to it, the one at its end to the next.
        while point - before < expected:
            ahead = point - before
            into = 2 * ahead / (first + math.sqrt(max(first * first + 2 * slope * ahead, 0.0))) if ahead else 0.0
            yield int((start + min(into, seconds)) * _SECOND)
            point = next(points)
        before, start = before + expected, start + seconds
