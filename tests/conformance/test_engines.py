"""What every engine must do with every protocol it speaks, on a real Triton.

A new engine joins with one line in ``ENGINES``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_triton.case import Inputs, Load
from pytest_triton.errors import EngineError
from pytest_triton.load import Engine, Plan, RequestSet, WireEngine, make_request
from pytest_triton.observation import OK, ServerStatistics, Trace
from pytest_triton.server import EmbeddedServer

ENGINES = [
    pytest.param((WireEngine(), "http"), id="wire-http"),
]

MakePlan = Callable[..., Plan]


@pytest.fixture(params=ENGINES)
def spoken(request: pytest.FixtureRequest) -> tuple[Engine, str]:
    """An engine and a protocol."""
    engine: tuple[Engine, str] = request.param
    return engine


@pytest.fixture
def engine(spoken: tuple[Engine, str]) -> Engine:
    return spoken[0]


@pytest.fixture
def make_plan(spoken: tuple[Engine, str], triton: EmbeddedServer) -> MakePlan:
    """Plan a load on one of the server's models, of tensors with ``size`` elements."""

    def make(model: str, *, concurrency: int = 1, batch_size: int = 1, size: int = 16, **options: Any) -> Plan:
        batches = triton.control.configuration(model).max_batch_size
        request = make_request(
            triton.control.metadata(model),
            max_batch_size=batches,
            inputs=Inputs(shapes={"X": (size,)}),
            batch_size=batch_size,
            model=model,
        )
        load = Load(concurrency=concurrency, batch_size=batch_size, protocol=spoken[1])
        return Plan(triton.endpoints.http, load, RequestSet.of(request), **options)

    return make


def settled_statistics(triton: EmbeddedServer, model: str) -> ServerStatistics:
    """Triton's statistics once they stand still: it counts a request only after its answer has left."""
    earlier = triton.control.statistics(model)
    for _ in range(40):
        time.sleep(0.05)
        later = triton.control.statistics(model)
        if later == earlier:
            return later
        earlier = later
    raise AssertionError("the statistics do not stand still without a load")


def in_flight(traces: Sequence[Trace], moment: int) -> int:
    """How many requests were between their sending and their answer at ``moment``."""
    return sum(int(np.sum((trace.sent <= moment) & (trace.done > moment))) for trace in traces)


@pytest.mark.parametrize(("concurrency", "batch_size"), [(1, 1), (4, 1), (3, 8)])
def test_every_request_is_in_a_trace_and_in_tritons_statistics(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, concurrency: int, batch_size: int
) -> None:
    before = settled_statistics(triton, "echo")
    with engine.open(make_plan("echo", concurrency=concurrency, batch_size=batch_size)) as session:
        session.start()
        traces = [session.collect(seconds=0.1) for _ in range(5)] + [session.stop()]
    seen = settled_statistics(triton, "echo").since(before)

    count = sum(len(trace) for trace in traces)
    assert count > concurrency
    assert seen.success_count == count
    assert seen.inference_count == count * batch_size
    assert not any(trace.status.any() for trace in traces)


def test_one_trace_ends_where_the_next_begins(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("echo", concurrency=2)) as session:
        session.start()
        traces = [session.collect(seconds=0.1) for _ in range(4)] + [session.stop()]

    for earlier, later in itertools.pairwise(traces):
        assert earlier.ended_ns == later.started_ns
    for trace in traces:
        assert np.all(trace.scheduled <= trace.sent)
        assert np.all(trace.sent < trace.first_response)
        assert np.all(trace.first_response <= trace.done)
        assert np.all(np.diff(trace.done) >= 0)
        assert np.all((trace.started_ns <= trace.done) & (trace.done <= trace.ended_ns))


def test_as_many_requests_are_in_flight_as_asked(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow", concurrency=4)) as session:
        session.start()
        traces = [session.collect(seconds=1.0), session.stop()]

    trace = traces[0]
    assert trace.concurrency == 4
    # Four instances that sleep for 0.1 s: one request after the other would be ten in a second.
    assert len(trace) > 20
    moments = np.linspace(trace.started_ns, trace.ended_ns, 50)[5:-5].astype(np.int64)
    counts = [in_flight(traces, moment) for moment in moments]
    assert max(counts) == 4
    assert np.median(counts) == 4


@pytest.mark.parametrize("size", [1, 1000, 4 * 2**20])
def test_answers_of_any_size_come_in_whole(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, size: int
) -> None:
    plan = make_plan("echo", size=size)
    before = settled_statistics(triton, "echo")
    with engine.open(plan) as session:
        session.start()
        traces = [session.collect(seconds=0.1, requests=3, limit=30), session.stop()]
    count = sum(len(trace) for trace in traces)

    assert count >= 3
    assert all((trace.status == OK).all() for trace in traces)
    assert settled_statistics(triton, "echo").since(before).success_count == count


def test_waits_for_the_requests_it_was_asked_for(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow")) as session:
        session.start()
        assert len(session.collect(seconds=0, requests=3)) >= 3


def test_waits_no_longer_than_its_limit(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow")) as session:
        session.start()
        trace = session.collect(seconds=0.1, requests=1_000_000, limit=0.3)
    assert len(trace) < 1_000
    assert trace.seconds >= 0.3


def test_an_error_answer_is_data(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("failing", concurrency=2)) as session:
        session.start()
        trace = session.collect(seconds=0.2, requests=5, limit=10)

    assert len(trace) >= 5
    assert (trace.status != OK).all()
    assert set(trace.reasons) == set(trace.status.tolist())
    assert all("no luck today" in reason for reason in trace.reasons.values())


def test_a_late_answer_is_a_failure(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow", timeout=0.03)) as session:
        session.start()
        trace = session.collect(seconds=0, requests=2, limit=10)
    assert (trace.status < 0).all()
    assert "within 0.03 s" in trace.reasons[int(trace.status[0])]


def test_an_unknown_model_is_an_error_of_every_request(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("echo")
    (request,) = plan.requests.requests
    missing = type(request)("missing", request.inputs, request.datatypes)
    with engine.open(Plan(plan.address, plan.load, RequestSet.of(missing))) as session:
        session.start()
        trace = session.collect(seconds=0, requests=1, limit=10)
    assert "missing" in trace.reasons[int(trace.status[0])]


def test_a_server_that_is_not_there_is_said_before_the_load(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("echo")
    with pytest.raises(EngineError, match=r"no connection to 127\.0\.0\.1:9"):
        engine.open(Plan("127.0.0.1:9", plan.load, plan.requests))


def test_ends_with_requests_in_flight(engine: Engine, make_plan: MakePlan, triton: EmbeddedServer) -> None:
    with engine.open(make_plan("slow", concurrency=4)) as session:
        session.start()
    assert triton.control.server_ready()
