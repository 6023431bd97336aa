"""The wire engine: requests encoded once, sent again and again by a process of its own."""

from __future__ import annotations

import enum
from types import TracebackType
from typing import Self

import numpy as np

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan
from pytest_triton.load.channel import Message
from pytest_triton.load.encoding import encode_http
from pytest_triton.load.process import WorkerProcess
from pytest_triton.observation import Trace

_CONNECTING = 10.0
"""How long the connections may take to open, in seconds."""

_SLACK = 30.0
"""How much later than it said a worker may answer before it counts as lost, in seconds."""


class _Phase(enum.Enum):
    OPEN = enum.auto()
    RUNNING = enum.auto()
    STOPPED = enum.auto()


class WireEngine:
    """Sends pre-encoded requests over connections driven by one thread in a process of its own."""

    name = "wire"

    def refusal(self, load: Load) -> str | None:
        """Say why this engine cannot send ``load``, or None if it can."""
        if load.protocol != "http":
            return f"the wire engine does not speak {load.protocol}"
        if not isinstance(load.concurrency, int) or load.concurrency < 1:
            return f"the wire engine needs a concurrency of at least 1, not {load.concurrency!r}"
        return None

    def open(self, plan: Plan) -> WireSession:
        """Encode the requests and open the connections. Raises ``EngineError``."""
        refusal = self.refusal(plan.load)
        if refusal:
            raise EngineError(refusal)
        if not plan.requests:
            raise EngineError("there is no request to send")
        if not plan.timeout > 0:
            raise EngineError(f"a time-out of {plan.timeout:g} s leaves no time for an answer")
        return WireSession(plan)


class WireSession:
    """A load that runs in its worker process."""

    def __init__(self, plan: Plan) -> None:
        host, _, port = plan.address.rpartition(":")
        if not host or not port.isdecimal():
            raise EngineError(f"{plan.address!r} is not an address", hint="Write host:port.")
        concurrency = plan.load.concurrency
        assert isinstance(concurrency, int)
        self._concurrency = concurrency
        self._timeout = plan.timeout
        self._phase = _Phase.OPEN
        self.received = 0
        """Bytes of the bodies of all successful answers up to the last trace."""
        self.hopeless = ""
        """Why nothing succeeded any more when the last trace was taken; empty while something did."""
        payloads = [encode_http(request, host=plan.address, headers=plan.headers) for request in plan.requests]
        setup: Message = {
            "host": host.strip("[]"),
            "port": int(port),
            "concurrency": concurrency,
            "timeout": plan.timeout,
            "patience": _CONNECTING,
        }
        self._worker = WorkerProcess(setup, payloads, timeout=_SLACK)
        try:
            answer, _ = self._worker.receive(timeout=_CONNECTING + _SLACK)
            if answer["kind"] == "unreachable":
                raise EngineError(
                    f"no connection to {plan.address}: {answer['reason']}", hint="Does the server still run?"
                )
        except BaseException:
            self._worker.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.close()

    def start(self) -> None:
        """Begin to send. The connections are open already."""
        if self._phase is not _Phase.OPEN:
            raise EngineError("a load session starts once", hint="Open another one.")
        self._worker.send({"kind": "start"}, timeout=_SLACK)
        self._worker.receive(timeout=_SLACK)
        self._phase = _Phase.RUNNING

    def collect(self, *, seconds: float, requests: int = 0, limit: float | None = None) -> Trace:
        """Let the load go on until ``seconds`` have passed and ``requests`` more have completed.

        Give up waiting for ``requests`` after ``limit`` seconds (never less than ``seconds``), or when
        nothing succeeds any more, which ``hopeless`` then explains. The first trace begins with
        ``start``, every other where the one before ended, so that no request is lost or counted twice.
        """
        if self._phase is not _Phase.RUNNING:
            raise EngineError("there is no load to collect from", hint="Call start() before, and stop() after.")
        # Every request ends, be it by its time-out, so that this much time is always enough.
        turns = requests / self._concurrency + 1
        most = max(seconds, turns * (self._timeout + 1) if limit is None else limit)
        self._worker.send({"kind": "collect", "seconds": seconds, "requests": requests, "limit": most}, timeout=_SLACK)
        return self._trace(most)

    def stop(self) -> Trace:
        """Stop sending, wait for what is in flight, and return what completed since the last call."""
        if self._phase is not _Phase.RUNNING:
            raise EngineError("there is no load to stop", hint="Call start() before, and stop() once.")
        self._phase = _Phase.STOPPED
        self._worker.send({"kind": "stop"}, timeout=_SLACK)
        return self._trace(self._timeout)

    def _trace(self, seconds: float) -> Trace:
        """Receive a trace that the worker sends within ``seconds``."""
        message, columns = self._worker.receive(timeout=seconds + _SLACK)
        self.received, self.hopeless = message["received"], message["hopeless"]
        sent, first, done = (np.frombuffer(column, dtype=np.int64) for column in columns[:3])
        return Trace(
            scheduled=sent,  # a closed loop sends a request the moment it is due
            sent=sent,
            first_response=first,
            done=done,
            status=np.frombuffer(columns[3], dtype=np.int16),
            started_ns=message["started_ns"],
            ended_ns=message["ended_ns"],
            cpu_seconds=message["cpu_seconds"],
            concurrency=self._concurrency,
            reasons=dict(message["reasons"]),
        )
