"""What every engine must do with every protocol it speaks, on a real Triton."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from engines import Spoken
from leftovers import family, wait_for_end
from serving import settled_statistics

from pytest_triton.errors import EngineError
from pytest_triton.load import Engine, LoadSession, Plan, RequestSet
from pytest_triton.observation import OK, Trace
from pytest_triton.server import EmbeddedServer

MakePlan = Callable[..., Plan]


def needs_all_in_sight(session: LoadSession) -> None:
    """Skip what an engine cannot show that sends only while it is asked, and more than it tells of."""
    if session.shortest:
        pytest.skip("each trace is a run of its own")


def in_flight(traces: Sequence[Trace], moment: int) -> int:
    """How many requests were between their sending and their answer at ``moment``."""
    return sum(int(np.sum((trace.sent <= moment) & (trace.done > moment))) for trace in traces)


@pytest.mark.parametrize(("concurrency", "batch_size"), [(1, 1), (4, 1), (3, 8)])
def test_every_request_is_in_a_trace_and_in_tritons_statistics(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, concurrency: int, batch_size: int
) -> None:
    before = settled_statistics(triton.control, "echo")
    with engine.open(make_plan("echo", load={"concurrency": concurrency, "batch_size": batch_size})) as session:
        needs_all_in_sight(session)
        session.start()
        traces = [session.collect(seconds=0.1) for _ in range(5)] + [session.stop()]
    seen = settled_statistics(triton.control, "echo").since(before)

    count = sum(len(trace) for trace in traces)
    assert count > concurrency
    assert seen.success_count == count
    assert seen.inference_count == count * batch_size
    assert not any(trace.status.any() for trace in traces)


def test_one_trace_ends_where_the_next_begins(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("echo", load={"concurrency": 2})) as session:
        needs_all_in_sight(session)
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
    with engine.open(make_plan("slow", load={"concurrency": 4})) as session:
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


@pytest.mark.parametrize("size", [1, 1000, 4 * 2**20, 16 * 2**20])
def test_answers_of_any_size_come_in_whole(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, size: int
) -> None:
    if size > 4 * 2**20 and engine.name != "wire":
        pytest.skip("what is so large is for the engine that need not encode it each time")
    plan = make_plan("echo", size=size)
    before = settled_statistics(triton.control, "echo")
    with engine.open(plan) as session:
        needs_all_in_sight(session)
        session.start()
        traces = [session.collect(seconds=0.1, requests=3, limit=30), session.stop()]
    count = sum(len(trace) for trace in traces)

    assert count >= 3
    assert all((trace.status == OK).all() for trace in traces)
    assert settled_statistics(triton.control, "echo").since(before).success_count == count


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
    with engine.open(make_plan("failing", load={"concurrency": 2})) as session:
        session.start()
        if session.shortest:
            with pytest.raises(EngineError, match="no luck today"):
                session.collect(seconds=0.2)
            return
        trace = session.collect(seconds=0.2, requests=5, limit=10)

    assert len(trace) >= 5
    assert (trace.status != OK).all()
    assert set(trace.reasons) == set(trace.status.tolist())
    assert all("no luck today" in reason for reason in trace.reasons.values())


def test_a_late_answer_is_a_failure(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow", timeout=0.03)) as session:
        needs_all_in_sight(session)
        session.start()
        trace = session.collect(seconds=0, requests=2, limit=10)
    assert (trace.status < 0).all()
    assert "within 0.03 s" in trace.reasons[int(trace.status[0])]


def test_an_unknown_model_is_told(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("echo")
    (request,) = plan.requests.requests
    plan = replace(plan, requests=RequestSet.of(replace(request, model="missing")))
    try:
        with engine.open(plan) as session:
            session.start()
            trace = session.collect(seconds=0, requests=1, limit=10)
            told = trace.reasons[int(trace.status[0])]
    except EngineError as error:
        told = error.problem
    assert "missing" in told


def test_a_server_that_is_not_there_is_said_before_the_load(engine: Engine, make_plan: MakePlan) -> None:
    plan = make_plan("echo")
    with pytest.raises(EngineError, match=r"no connection to 127\.0\.0\.1:9"):
        engine.open(replace(plan, address="127.0.0.1:9"))


def test_several_processes_share_the_load(engine: Engine, make_plan: MakePlan, triton: EmbeddedServer) -> None:
    before = settled_statistics(triton.control, "slow")
    with engine.open(make_plan("slow", load={"concurrency": 4}, workers=3)) as session:
        needs_all_in_sight(session)
        session.start()
        traces = [session.collect(seconds=0.5, requests=8) for _ in range(2)] + [session.stop()]

    moments = np.linspace(traces[0].started_ns, traces[1].ended_ns, 50)[5:-5].astype(np.int64)
    assert max(in_flight(traces, moment) for moment in moments) == 4
    assert settled_statistics(triton.control, "slow").since(before).success_count == sum(map(len, traces))


def test_no_answer_is_faster_than_the_model(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("slow", load={"concurrency": 2})) as session:
        session.start()
        trace = session.collect(seconds=0.5, requests=4)
    assert np.all(trace.done - trace.scheduled >= 100_000_000)


def test_ends_with_requests_in_flight(engine: Engine, make_plan: MakePlan, triton: EmbeddedServer) -> None:
    with engine.open(make_plan("slow", load={"concurrency": 4})) as session:
        session.start()
    assert triton.control.server_ready()


SEND = """
import sys, time
import numpy as np
from pytest_triton.case import Load
from pytest_triton.load import Plan, Request, RequestSet
from pytest_triton.load.engines import make_engine

name, protocol, streaming, address = sys.argv[1:]
load = Load(concurrency=2, protocol=protocol, streaming=streaming == "True")
request = Request("slow", {"X": np.zeros(1, np.float32)}, {"X": "FP32"})
session = make_engine(name).open(Plan(address, load, RequestSet.of(request)))
session.start()
print("sending", flush=True)
session.collect(seconds=60)
"""


def test_ends_with_the_process_that_it_sends_for(spoken: Spoken, triton: EmbeddedServer) -> None:
    if spoken.engine.name == "perf_analyzer":
        pytest.skip("goes on to the end of its run")
    address = triton.endpoints.address(spoken.protocol)
    words = [sys.executable, "-c", SEND, spoken.engine.name, spoken.protocol, str(spoken.streaming), address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sending\n"
        workers = family(process.pid)[1:]
        process.kill()
    assert workers
    assert not wait_for_end(workers, 10)
