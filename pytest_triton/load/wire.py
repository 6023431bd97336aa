"""The wire engine: requests encoded once, sent again and again by processes of its own."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict
from pathlib import Path

import hpack

from pytest_triton.case import Load, Phases
from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan
from pytest_triton.load.channel import Buffer, Message
from pytest_triton.load.description import (
    check_plan,
    describe_arrivals,
    describe_columns,
    describe_sequences,
    refuse_load,
)
from pytest_triton.load.encoding import encode_http, encode_http_sequence
from pytest_triton.load.encoding_grpc import encode_grpc, encode_grpc_sequence, encode_headers
from pytest_triton.load.idle import IdleWorkers
from pytest_triton.load.process import WorkerProcess
from pytest_triton.load.session import CONNECTING, SLACK, WorkerSession, await_connections
from pytest_triton.load.validation import Validation

_SAMPLE = 16
"""One in so many answers is looked at where a sample of them is validated."""

_STREAMS = 64
"""So many places share a gRPC connection: what they send and receive at the same time costs one system call."""

_PLACES = 16
_PLACE_SECONDS = 0.05
"""In open loop a connection is opened beforehand for every request that is due within this time, and this many at
least.
"""


class WireEngine:
    """Sends pre-encoded requests over connections that each of its processes drives with one thread."""

    name = "wire"

    def __init__(self, workers: int = 0) -> None:
        """``workers`` processes share a load; 0 leaves it to how busy they are."""
        self.workers = workers
        self._idle = IdleWorkers()

    def refusal(self, load: Load) -> str | None:
        """Say why this engine cannot send ``load``, or None if it can."""
        if load.protocol not in ("http", "grpc"):
            return f"the wire engine does not speak {load.protocol}"
        return refuse_load(self.name, load)

    def open(self, plan: Plan) -> WorkerSession:
        """Encode the requests and open the connections. Raises ``EngineError``, ``InputError``."""
        check_plan(plan, self.refusal(plan.load))
        host, _, port = plan.address.rpartition(":")
        if not host or not port.isdecimal():
            raise EngineError(f"{plan.address!r} is not an address", hint="Write host:port.")
        payloads = _encode(plan)
        setup: Message = {
            "protocol": plan.load.protocol,
            "host": host.strip("[]"),
            "port": int(port),
            "tls": asdict(plan.tls) if plan.tls is not None else None,
            "timeout": plan.timeout,
            "patience": CONNECTING,
            "streams": plan.requests.streams,
            "requests": len(plan.requests.requests),
            "sequences": describe_sequences(plan, id_form="decimal" if _decimal_ids(plan) else "varint"),
            "arrivals": describe_arrivals(plan),
            "columns": [*describe_columns(plan), *(["answer"] if plan.validate != "none" else [])],
            "look_every": {"none": 0, "sample": _SAMPLE, "all": 1}[plan.validate],
            "streaming": plan.load.streaming,
            "fixed": not plan.load.open_loop or plan.load.sequence_length is not None,
        }
        if plan.load.protocol == "grpc":
            payloads += encode_headers(
                plan.address, secure=plan.tls is not None, headers=plan.headers, streaming=plan.load.streaming
            )
            setup["hpack"] = str(Path(hpack.__file__).parent.parent)
        return self._connect(plan, setup, payloads)

    def _connect(self, plan: Plan, setup: Message, payloads: list[Buffer]) -> WorkerSession:
        """Give each worker its share of the places, and wait until all are connected."""
        places = _places(plan.load)
        parts = min(max(plan.workers, 1), places)
        with contextlib.ExitStack() as undo:
            workers = []
            for part in range(parts):
                share = places // parts + (part < places % parts)
                shared = {**setup, "part": part, "parts": parts, "places": share, "channels": -(-share // _STREAMS)}
                worker = self._idle.take() or WorkerProcess()
                undo.callback(worker.close)
                worker.send(shared, payloads, timeout=SLACK)
                workers.append(worker)
            await_connections(workers, plan.address, self.name)
            undo.pop_all()
        concurrency = 0 if plan.load.open_loop else places
        check = None
        if plan.validate != "none":
            check = Validation(plan.requests.requests, plan.load.protocol, len(workers), plan.tolerances)
        return WorkerSession(
            workers,
            concurrency=concurrency,
            timeout=plan.timeout,
            headers=plan.headers,
            check=check,
            keep=self._idle.keep,
        )


def _places(load: Load) -> int:
    """Say how many requests, or sequences, can be under way from the beginning."""
    assert isinstance(load.concurrency, int)
    if not load.open_loop or load.sequence_length is not None:
        return load.concurrency
    rate = 0.0
    if isinstance(load.rate, Phases):
        rate = max(max(phase.first, phase.last) for phase in load.rate.phases)
    elif isinstance(load.rate, int | float):
        rate = load.rate
    return max(_PLACES, min(256, math.ceil(rate * _PLACE_SECONDS)))


def _encode(plan: Plan) -> list[Buffer]:
    payloads: list[Buffer] = []
    for request in plan.requests.requests:
        if plan.load.protocol == "grpc":
            if plan.load.sequence_length is None:
                payloads.append(encode_grpc(request, streaming=plan.load.streaming))
            else:
                payloads += encode_grpc_sequence(request, streaming=plan.load.streaming, string_ids=plan.string_ids)
            continue
        if plan.load.sequence_length is None:
            payloads.append(encode_http(request, host=plan.address, headers=plan.headers))
        else:
            payloads += encode_http_sequence(
                request, host=plan.address, headers=plan.headers, string_ids=plan.string_ids
            )
    return payloads


def _decimal_ids(plan: Plan) -> bool:
    return plan.load.protocol == "http" or plan.string_ids
