"""Every engine sends when a request is due, whatever is in flight, and says when that was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_triton.case import Phases
from pytest_triton.load import Engine, Plan
from pytest_triton.observation import OK, Trace

MakePlan = Callable[..., Plan]


def send(engine: Engine, plan: Plan, seconds: float = 1.0) -> list[Trace]:
    with engine.open(plan) as session:
        session.start()
        return [session.collect(seconds=seconds), session.stop()]


def due(engine: Engine, plan: Plan) -> np.ndarray:
    """When each request was due, in ns from the load's start; of an engine that says so."""
    traces = send(engine, plan)
    if traces[0].started_ns == traces[0].scheduled[0] or np.array_equal(traces[0].scheduled, traces[0].sent):
        pytest.skip("says only when requests were sent")
    scheduled = np.sort(np.concatenate([trace.scheduled for trace in traces]))
    return scheduled - traces[0].started_ns


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_the_rate_is_the_one_asked_for(engine: Engine, make_plan: MakePlan, arrivals: str) -> None:
    trace, rest = send(engine, make_plan("echo", load={"rate": 100.0, "arrivals": arrivals}), seconds=2.0)

    assert trace.concurrency == 0
    assert (trace.status == OK).all()
    expected = 100 * trace.seconds
    # Four standard deviations of a Poisson process.
    assert abs(trace.offered - expected) <= (2 if arrivals == "constant" else 4 * np.sqrt(expected))
    assert 0.9 * trace.offered <= trace.dispatched <= trace.offered
    assert np.all(trace.sent >= trace.scheduled)
    assert len(trace) + len(rest) >= 0.9 * trace.offered


def test_constant_arrivals_are_evenly_spaced(engine: Engine, make_plan: MakePlan) -> None:
    moments = due(engine, make_plan("echo", load={"rate": 50.0, "arrivals": "constant"}))
    assert np.all(np.abs(np.diff(moments) - 20_000_000) <= 1)


def test_a_seed_gives_the_same_arrivals_to_one_process_and_to_several(engine: Engine, make_plan: MakePlan) -> None:
    load = {"rate": 100.0}
    alone, again, other = (
        due(engine, make_plan("echo", load=load, seed=seed, workers=workers))
        for seed, workers in ((7, 1), (7, 2), (8, 1))
    )
    count = min(map(len, (alone, again, other)))
    assert count > 30
    assert np.array_equal(alone[:count], again[:count])
    assert not np.array_equal(alone[:count], other[:count])


def test_a_slow_model_makes_nothing_wait_to_be_sent(engine: Engine, make_plan: MakePlan) -> None:
    """Four instances serve 40 requests a second; the others are in flight, or their latency counts the waiting."""
    trace, rest = send(engine, make_plan("slow", load={"rate": 80.0, "arrivals": "constant"}))
    if len(rest) == 0:
        pytest.skip("each trace is a run of its own")
    latency = np.concatenate([trace.done - trace.scheduled, rest.done - rest.scheduled])
    assert len(latency) >= 70
    assert latency.max() > 500_000_000


def test_intervals_from_a_file(engine: Engine, make_plan: MakePlan, tmp_path: Path) -> None:
    path = tmp_path / "gaps"
    path.write_text("10000\n30000\n20000\n")
    moments = due(engine, make_plan("echo", load={"arrivals": str(path)}))
    assert set(np.diff(moments)[:30]) == {10_000_000, 30_000_000, 20_000_000}


def test_phases_change_the_rate(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("echo", load={"rate": Phases(("0.25s", "20/s"), ("0.25s", "200/s")), "arrivals": "constant"})
    moments = due(engine, plan)
    slow, fast = (int(((moments >= low) & (moments < low + 250_000_000)).sum()) for low in (0, 250_000_000))
    assert (slow, fast) == (5, 50)
