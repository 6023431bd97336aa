"""A model whose service time is known gives the latencies that it must: here each request says how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_triton.load import Engine, Plan, Request, RequestSet

MakePlan = Callable[..., Plan]

RANDOM = np.random.default_rng(7)
DISTRIBUTIONS = {
    "constant": np.full(4, 0.020),
    "exponential": RANDOM.exponential(0.020, 24),
    "bimodal": RANDOM.permutation([0.004] * 9 + [0.060] * 3),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_latency_is_the_service_time_and_little_more(engine: Engine, make_plan: MakePlan, name: str) -> None:
    service = DISTRIBUTIONS[name].astype(np.float32)
    requests = [Request("asked", {"X": np.array([seconds], np.float32)}, {"X": "FP32"}) for seconds in service]
    plan = replace(make_plan("asked", *requests), requests=RequestSet.of(*requests))
    with engine.open(plan) as session:
        if session.shortest and name != "bimodal":
            pytest.skip("each trace is a run of its own, which takes seconds: one distribution is enough")
        session.start()
        # The first request on a connection costs what the others do not.
        session.collect(seconds=0.1, requests=2, limit=30)
        trace = session.collect(seconds=max(session.shortest, 0.5), requests=2 * len(service), limit=30)
        session.stop()

    assert not trace.status.any()
    latency = (trace.done - trace.sent) / 1e9
    which = np.zeros(len(trace), np.int32) if trace.request is None else trace.request
    taken = service[which] if trace.request is not None else _nearest(latency, service)
    assert np.all(latency >= 0.999 * taken)
    # On any machine: the added time is a small part of what the model takes, for most requests.
    assert np.median(latency - taken) < np.median(service)
    if name != "constant":
        assert np.corrcoef(latency, taken)[0, 1] > 0.5


def _nearest(latency: np.ndarray, service: Sequence[float]) -> np.ndarray:
    """The longest service time that each latency can have held, where the engine does not say which request it was."""
    ordered = np.sort(service)
    return ordered[np.maximum(np.searchsorted(ordered, latency / 0.999, side="right") - 1, 0)]
