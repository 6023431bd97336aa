"""The wire engine's worker goes on to the next load, and to nobody else."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
from leftovers import wait_for_end
from serving import settled_statistics

from pytest_triton.case import Load
from pytest_triton.load import Plan, Request, RequestSet, WireEngine
from pytest_triton.load.base import LoadSession
from pytest_triton.server import EmbeddedServer


def plan(triton: EmbeddedServer, **load: object) -> Plan:
    asked = Load(**load)  # type: ignore[arg-type]
    request = Request("echo", {"X": np.zeros((1, 16), np.float32)}, {"X": "FP32"})
    return Plan(triton.endpoints.address(asked.protocol), asked, RequestSet.of(request))


def workers(before: set[psutil.Process]) -> set[psutil.Process]:
    return set(psutil.Process().children()) - before


def send(session: LoadSession, requests: int) -> int:
    """Send for so many requests; return how many there were in all."""
    session.start()
    first = session.collect(seconds=0, requests=requests)
    last = session.stop()
    assert not first.status.any()
    assert not last.status.any()
    return len(first) + len(last)


@pytest.fixture
def others() -> set[psutil.Process]:
    """The processes below this one that are none of the engine's."""
    return set(psutil.Process().children())


def test_one_process_sends_one_load_after_another(triton: EmbeddedServer, others: set[psutil.Process]) -> None:
    engine = WireEngine(workers=1)
    counts, seen = [], set()
    for load in (
        {"concurrency": 8},
        {"concurrency": 2, "protocol": "grpc"},
        {"rate": 200.0},
        {"concurrency": 3, "protocol": "grpc", "streaming": True},
        {"concurrency": 2},
    ):
        before = settled_statistics(triton.control, "echo").success_count
        with engine.open(plan(triton, **load)) as session:
            counts.append(send(session, 40))
            seen |= workers(others)
        assert settled_statistics(triton.control, "echo").success_count - before == counts[-1]
    assert len(seen) == 1
    del engine, session
    assert not wait_for_end(list(seen), 5)


def test_one_that_ended_meanwhile_is_replaced(triton: EmbeddedServer, others: set[psutil.Process]) -> None:
    engine = WireEngine(workers=1)
    with engine.open(plan(triton, concurrency=1)) as session:
        send(session, 1)
    (first,) = workers(others)
    first.kill()
    assert not wait_for_end([first], 5)
    with engine.open(plan(triton, concurrency=1)) as session:
        assert send(session, 5) >= 5
        assert first not in workers(others)


def test_one_whose_load_was_broken_off_ends(triton: EmbeddedServer, others: set[psutil.Process]) -> None:
    engine = WireEngine(workers=1)
    with engine.open(plan(triton, concurrency=1)) as session:
        session.start()
    assert not workers(others)
    with engine.open(plan(triton, concurrency=1)) as session:
        send(session, 1)
    (idle,) = workers(others)
    assert not wait_for_end([idle], 10), "it ends by itself"
