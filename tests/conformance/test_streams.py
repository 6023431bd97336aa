"""Several responses to a request of a decoupled model, each with its time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from engines import STREAMS

from pytest_triton.load import Engine, Plan, Request
from pytest_triton.observation import OK

pytestmark = pytest.mark.parametrize("spoken", STREAMS)

MakePlan = Callable[..., Plan]


def ask(model: str, count: int) -> Request:
    return Request(model, {"X": np.array([count], np.float32)}, {"X": "FP32"})


@pytest.mark.parametrize("model", ["repeat", "marked"])
def test_every_response_has_its_time(engine: Engine, make_plan: MakePlan, model: str) -> None:
    with engine.open(make_plan(model, ask(model, 3))) as session:
        session.start()
        trace = session.collect(seconds=0.3, requests=10)

    assert trace.responses is not None
    assert trace.response_at is not None
    assert (trace.status == OK).all()
    assert set(trace.responses.tolist()) == {3}
    times = trace.response_at.reshape(-1, 3)
    assert np.array_equal(times[:, 0], trace.first_response)
    assert np.all(np.diff(times, axis=1) > 0)
    assert np.all(trace.sent[:, None] < times)
    assert np.all(times <= trace.done[:, None])
    # The model waits for 2 ms before each.
    assert np.all(trace.done - trace.sent >= 6_000_000)
    assert np.median(times[:, 2] - times[:, 0]) >= 3_500_000


def test_requests_may_have_different_numbers_of_responses(engine: Engine, make_plan: MakePlan) -> None:
    requests = [ask("repeat", count) for count in (1, 4)]
    with engine.open(
        make_plan("repeat", *requests, load={"protocol": "grpc", "streaming": True, "concurrency": 2})
    ) as session:
        session.start()
        trace = session.collect(seconds=0.3, requests=20)

    assert trace.responses is not None
    assert trace.response_at is not None
    assert set(trace.responses.tolist()) == {1, 4}
    assert len(trace.response_at) == trace.responses.sum()
    if trace.request is not None:
        assert np.array_equal(trace.responses, np.where(trace.request == 0, 1, 4))


def test_a_request_without_a_response_ends_all_the_same(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("repeat", ask("repeat", 0))) as session:
        if session.shortest:
            pytest.skip("takes no note of a request without a response")
        session.start()
        trace = session.collect(seconds=0.3, requests=5, limit=20)
    assert trace.responses is not None
    assert len(trace) >= 5
    assert not trace.responses.any()


def test_a_stream_goes_on_after_an_error(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("failing")
    with engine.open(plan) as session:
        if session.shortest:
            pytest.skip("a failed request ends its run")
        session.start()
        trace = session.collect(seconds=0.1, requests=5, limit=10)
    assert len(trace) >= 5
    assert all("no luck today" in reason for reason in trace.reasons.values())
