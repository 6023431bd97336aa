"""Readings of GPUs, made into what they did over a stretch of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pytest_triton.observation import GpuFigures, GpuUsage


def summarise(readings: Sequence[GpuFigures]) -> GpuUsage:
    """Return what ``readings``, in the order of time, say: the most memory in use, and means of the rest."""
    if not readings:
        return GpuUsage()
    told = [each.slowdowns for each in readings if each.slowdowns is not None]
    reasons = sorted(frozenset[str]().union(*told))
    return GpuUsage(
        memory=max((each.memory for each in readings if each.memory is not None), default=None),
        utilization=_mean(each.utilization for each in readings),
        power=_power(readings),
        clock=_mean(each.clock for each in readings),
        throttled=_mean(float(bool(each)) for each in told),
        slowdowns={reason: sum(reason in each for each in told) / len(told) for reason in reasons},
        readings=len(readings),
        seconds=(readings[-1].at_ns - readings[0].at_ns) / 1e9,
    )


def join(stretches: Sequence[GpuUsage]) -> GpuUsage:
    """Return what separate stretches of time come to together."""
    readings = sum(each.readings for each in stretches)
    reasons = sorted({reason for each in stretches for reason in each.slowdowns})
    return GpuUsage(
        memory=max((each.memory for each in stretches if each.memory is not None), default=None),
        utilization=_weighted([(each.utilization, each.readings) for each in stretches]),
        power=_weighted([(each.power, each.seconds) for each in stretches]),
        clock=_weighted([(each.clock, each.readings) for each in stretches]),
        throttled=_weighted([(each.throttled, each.readings) for each in stretches]),
        slowdowns={
            reason: sum(each.slowdowns.get(reason, 0.0) * each.readings for each in stretches) / readings
            for reason in reasons
        },
        readings=readings,
        seconds=sum(each.seconds for each in stretches),
    )


def _power(readings: Sequence[GpuFigures]) -> float | None:
    """Return the mean power in W, from the energy that was used where that is counted.

    A reading of power is itself a mean, on some GPUs over a small part of the time only (Yang, Adamek and Armour,
    SC'24). The counter of energy moves in steps, and is read at any time after one: what lies between the first step
    that was seen and the last one is exact but for the time between two readings.
    """
    counted = [(each.at_ns, each.energy) for each in readings if each.energy is not None]
    steps = [later for earlier, later in pairwise(counted) if later[1] != earlier[1]]
    if len(steps) > 1 and all(later[1] > earlier[1] for earlier, later in pairwise(steps)):
        (began, first), (ended, last) = steps[0], steps[-1]
        return (last - first) / ((ended - began) / 1e9)
    return _mean(each.power for each in readings)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _weighted(values: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
