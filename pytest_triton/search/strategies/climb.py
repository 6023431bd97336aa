"""Where the load of one candidate is looked for: up to the knee of its throughput, within its SLO.

Everything rests on two shapes. Throughput hardly falls when more requests are in flight than it takes to saturate;
latency grows with the load, but for what a batcher waits for a batch to fill (``max_queue_delay_microseconds``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_triton.case import Load
from pytest_triton.metrics import Better
from pytest_triton.search.objective import INSTANCES, Objective
from pytest_triton.search.probed import Probed, bounds_latency
from pytest_triton.slo import SLO

GAIN = 1.05
"""What twice the load must gain at least; below is the plateau."""
SAME = 1.02
"""Throughputs that are closer are the same, and the smaller load of the two serves."""
LARGEST = 1024
"""The largest concurrency that is looked at."""
_LARGEST_GUESS = 256
_ROOM = 0.04
"""Share of a limit on latency that is left where possible."""
_KEPT_UP = 0.97
"""Share of an offered rate that must be answered within the measurement: below, requests pile up."""
_FIRST_RATE = 0.8
_LEAST_SHARE = 1 / 64
GROWING = ("throughput", "response_throughput")
STILL = (INSTANCES, "rss", "gpu_memory")


def saturates(objective: Objective) -> bool:
    """Tell whether more load makes the objective better, up to a plateau: throughput, also by what does not change."""
    return objective.better is Better.HIGHER and all(
        (factor.name in GROWING and factor.power > 0) or factor.name in STILL for factor in objective.factors
    )


def guess_saturation(instances: int, max_batch_size: int, batch_size: int, *, batching: bool) -> int:
    """Return a concurrency at which every instance is busy with a full batch and another one waits: a power of two."""
    together = max(1, max_batch_size // max(batch_size, 1)) if batching else 1
    wanted = min(2 * max(instances, 1) * together, _LARGEST_GUESS)
    return 1 << max(0, wanted - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Climb:
    """The search for the load of one candidate, whose ``load`` has a concurrency or a rate of ``auto``.

    ``saturation`` is the concurrency that it is guessed to need, ``delay`` how long its batcher may wait, in seconds.
    ``unloaded_first`` begins with one request in flight, which tells at once whether latencies can be kept.
    """

    load: Load
    slo: SLO
    objective: Objective
    saturation: int = 8
    delay: float = 0.0
    instances: int = 1

    def next(self, probes: Sequence[Probed]) -> Load | None:
        """Return the load to probe next, None when the best one is among the ``probes``."""
        if self.load.rate == "auto":
            return self._next_rate(probes)
        if self.load.concurrency == "auto":
            concurrency = self._next_concurrency(_by_concurrency(probes))
            return None if concurrency is None else replace(self.load, concurrency=concurrency)
        return None if probes else self.load

    def choose(self, probes: Sequence[Probed]) -> int:
        """Return the place of the probe that serves the objective best within the SLO; else of the nearest to it."""
        last = {probe.load: place for place, probe in enumerate(probes)}
        places = [place for load, place in last.items() if load.open_loop == self.load.open_loop]
        if not places:
            return len(probes) - 1
        kept = [place for place in places if self.keeps(probes[place])]
        # What lies on a bound could not be shown to keep it at the end of the search.
        kept = [place for place in kept if probes[place].missed(self.slo, room=_ROOM) is None] or kept
        able = [place for place in kept if probes[place].reaches(self.slo)] or kept
        if not able:
            return min(places, key=lambda place: (not probes[place].valid, amount(probes[place].load)))
        if self.load.rate == "auto":
            return max(able, key=lambda place: amount(probes[place].load))
        best = max(self._worth(probes[place])[0] for place in able)
        near = [place for place in able if self._is_near(probes[place], best)]
        return min(near, key=lambda place: amount(probes[place].load))

    def _is_near(self, probe: Probed, best: float) -> bool:
        """Whether a load serves as well as the best one: surely, where less of it would be a loss."""
        worth, least = self._worth(probe)
        return worth >= best or (worth * SAME >= best and least * GAIN >= best)

    def keeps(self, probe: Probed) -> bool:
        """Tell whether a probe keeps every upper bound by its values, and the server keeps up with its load."""
        return probe.valid and probe.missed(self.slo) is None and (not probe.load.open_loop or _keeps_up(probe))

    def _worth(self, probe: Probed) -> tuple[float, float]:
        """Return the objective's value, larger being better, and the less favourable end of it; 0 where not known."""
        value = self.objective.value(probe.metrics, self.instances)
        if value is None or not math.isfinite(value.value) or value.value <= 0:
            return 0.0, 0.0
        if self.objective.better is Better.HIGHER:
            return value.value, value.value if value.low is None else value.low
        return 1 / value.value, 1 / (value.high or value.value)

    def _beyond(self, probe: Probed) -> bool:
        """Whether a load is too much already: no smaller delay of the batcher would save it."""
        return not probe.valid or probe.missed(self.slo, delay=self.delay) is not None

    # The concurrency

    def _next_concurrency(self, points: Mapping[int, Probed]) -> int | None:
        if saturates(self.objective):
            return self._next_saturating(points)
        return self._next_doubling(points)

    def _next_saturating(self, points: Mapping[int, Probed]) -> int | None:
        """Probe both ends, then halve what is between on a scale of powers of two."""
        first = [1, self.saturation] if bounds_latency(self.slo) else [self.saturation]
        for concurrency in first:
            if concurrency not in points and not (1 in points and self._beyond(points[1])):
                return concurrency
        top = min((c for c, probe in points.items() if self._beyond(probe)), default=None)
        below = [c for c in points if top is None or c < top]
        if top is not None:
            within = self._within(max(below, default=0), top, points)
            if within is not None or not below:
                return within
        enough = max(points[c].throughput for c in below) / GAIN
        knee = min(c for c in below if points[c].throughput >= enough)
        lower = max((c for c in below if c < knee), default=0)
        if knee > 2 * lower and knee > 1:
            return _between(lower, knee)
        if top is None and knee == max(below) and 2 * knee <= LARGEST:
            return 2 * knee
        return None

    def _within(self, kept: int, top: int, points: Mapping[int, Probed]) -> int | None:
        """Return a load between one that is kept (0: none yet) and one that is too much, as far as it pays."""
        if top == 1:
            return None
        if kept == 0:
            return _between(0, top)
        if points[top].valid and points[top].throughput <= points[kept].throughput * GAIN:
            return None
        if top > 2 * kept:
            return _between(kept, top)
        return (kept + top) // 2 if top - kept > max(1, kept // 3) else None

    def _next_doubling(self, points: Mapping[int, Probed]) -> int | None:
        """Double from one on while the objective gains, or a lower bound is not reached yet."""
        if not points:
            return 1
        last = max(points)
        if 2 * last > LARGEST or self._beyond(points[last]):
            return None
        if last == 1:
            settled = self.objective.better is Better.LOWER and points[1].reaches(self.slo)
            return None if settled else 2
        before = points[max(c for c in points if c < last)]
        if not points[last].reaches(self.slo):
            return 2 * last if points[last].throughput >= before.throughput * GAIN else None
        if self.objective.better is Better.LOWER:
            return None
        gained = self._worth(points[last])[0] * GAIN >= max(self._worth(point)[0] for point in points.values())
        grew = points[last].throughput >= before.throughput * GAIN
        return 2 * last if gained and grew else None

    # The rate

    def _next_rate(self, probes: Sequence[Probed]) -> Load | None:
        """Saturate in closed loop, then halve the rates around the highest that is kept, to 5 %."""
        closed = [probe for probe in probes if not probe.load.open_loop]
        if not closed:
            concurrency = self.load.concurrency if self.load.sequence_length is not None else self.saturation
            return replace(self.load, rate=None, arrivals="poisson", concurrency=concurrency)
        capacity = max(probe.throughput for probe in closed) / self.load.batch_size
        if capacity <= 0:
            return None
        rates = {probe.load.rate: probe for probe in probes if isinstance(probe.load.rate, int | float)}
        too_much = min((r for r, probe in rates.items() if not self.keeps(probe)), default=capacity)
        kept = max((r for r, probe in rates.items() if r < too_much and self.keeps(probe)), default=None)
        if kept is None:
            rate = _FIRST_RATE * capacity if not rates else too_much / 2
            return self._at_rate(rate) if rate >= _LEAST_SHARE * capacity else None
        return self._at_rate(math.sqrt(kept * too_much)) if too_much > GAIN * kept else None

    def _at_rate(self, rate: float) -> Load:
        return replace(self.load, rate=float(f"{rate:.3g}"))


def _keeps_up(probe: Probed) -> bool:
    offered = probe.metrics.get("offered_rate")
    return offered is None or probe.throughput >= _KEPT_UP * offered.value * probe.load.batch_size


def _by_concurrency(probes: Sequence[Probed]) -> dict[int, Probed]:
    return {probe.load.concurrency: probe for probe in probes if isinstance(probe.load.concurrency, int)}


def amount(load: Load) -> float:
    """Return how much load it is: requests in flight, or per second; 0 where that is to be looked for."""
    if isinstance(load.rate, int | float):
        return load.rate
    return load.concurrency if isinstance(load.concurrency, int) else 0


def _between(low: int, high: int) -> int:
    """Return the power of two in the middle of two loads; 0 stands for less than one."""
    bottom = math.floor(math.log2(low)) if low else -1
    top = math.log2(high)
    return 1 << max(0, min(math.ceil((bottom + top) / 2), math.ceil(top) - 1))
