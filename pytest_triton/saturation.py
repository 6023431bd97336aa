"""``concurrency="auto"``: the load that serves the objective best within the SLO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_triton.case import Case
from pytest_triton.measurement import Measurement

_GAIN = 1.05
_LARGEST = 1024


def find_concurrency(case: Case, probe: Callable[[Case], Measurement]) -> tuple[Case, Measurement]:
    """Double the concurrency while throughput still gains 5 %, or until a latency bound is missed.

    ``probe`` measures one case. Return the case with the last concurrency that gained so much and keeps the SLO by its
    estimates (the first one, when none does), and its measurement: on the plateau, more load is only more waiting.
    """
    best: tuple[Case, Measurement] | None = None
    concurrency = 1
    while concurrency <= _LARGEST:
        point = replace(case, load=replace(case.load, concurrency=concurrency))
        measurement = probe(point)
        if best is None:
            best = point, measurement
        elif not keeps_bounds(measurement, point):
            break
        else:
            gain = throughput(measurement) / max(throughput(best[1]), 1e-9)
            if gain < _GAIN:
                break
            best = point, measurement
        if measurement.problems or not keeps_bounds(measurement, point):
            break
        concurrency *= 2
    assert best is not None
    return best


def keeps_bounds(measurement: Measurement, case: Case) -> bool:
    """Tell whether the estimates, taken at face value, keep every bound of latency and errors."""
    for bound in case.slo.bounds:
        estimate = measurement.metrics.get(bound.metric.name)
        if bound.direction.value == "<=" and estimate is not None and estimate.value > bound.limit:
            return False
    return True


def throughput(measurement: Measurement) -> float:
    """Return the measured inferences per second; 0 when there were none."""
    estimate = measurement.metrics.get("throughput")
    return estimate.value if estimate is not None else 0.0
