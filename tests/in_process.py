"""A wire load in the test's own process, as its worker would run it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest

from pytest_triton.case import Load
from pytest_triton.load import Plan, Request, RequestSet, WireEngine, wire
from pytest_triton.load.base import TLS
from pytest_triton.load.grpc_connection import State
from pytest_triton.load.loop import Loop
from pytest_triton.load.setup import make_load
from pytest_triton.load.wire_grpc import GrpcLoad

SECOND = 1_000_000_000


def plan_for(
    address: str,
    *,
    size: int = 4,
    expected: bool = False,
    timeout: float = 20.0,
    tls: TLS | None = None,
    **load: Any,
) -> Plan:
    """Plan a load of one request."""
    values = np.zeros(size, dtype=np.float32)
    request = Request("m", {"IN": values}, {"IN": "FP32"}, expected={"OUT": values} if expected else None)
    validate: Literal["all", "none"] = "all" if expected else "none"
    return Plan(address, Load(**load), RequestSet.of(request), timeout=timeout, tls=tls, validate=validate)


@contextlib.contextmanager
def in_process(plan: Plan, *, first_stream: int = 1) -> Iterator[Loop]:
    """Open the load of ``plan`` here; nothing of it is left afterwards."""
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire.WireEngine, "_connect", lambda self, plan, setup, payloads: made.extend((setup, payloads)))
        WireEngine().open(plan)
    setup, payloads = made
    places = wire._places(plan.load)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        load = make_load({**setup, "part": 0, "parts": 1, "places": places, "channels": 1}, payloads, ours.fileno())
        if isinstance(load, GrpcLoad):
            load._first_stream = first_stream
        try:
            load.open(5)
            yield load
        finally:
            close(load)


def close(load: Loop) -> None:
    """Close every connection and what waits for them."""
    if isinstance(load, GrpcLoad):
        for connection in list(load._connections.values()):
            if connection.state is not State.CLOSED:
                connection.close()
    else:
        for place in load._places:
            load._abandon(place)
    load._epoll.close()


def drive(load: Loop, *, requests: int, seconds: float = 10.0) -> None:
    """Start, let so many requests complete, and end what is in flight."""
    load.start(time.monotonic_ns())
    load.run(time.monotonic_ns() + int(seconds * SECOND), requests)
    finish(load)


def finish(load: Loop, seconds: float = 10.0) -> None:
    """End what is in flight."""
    load.drain()
    load.run(time.monotonic_ns() + int(seconds * SECOND), drain=True)
    assert load.drained


def column(load: Loop, name: str) -> list[int]:
    """What the records say."""
    return list(load.records._columns[name])
