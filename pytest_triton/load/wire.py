"""The wire engine: requests encoded once, sent again and again by a process of its own."""

from __future__ import annotations

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan
from pytest_triton.load.channel import Message
from pytest_triton.load.encoding import encode_http
from pytest_triton.load.process import WorkerProcess
from pytest_triton.load.session import CONNECTING, SLACK, WorkerSession


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

    def open(self, plan: Plan) -> WorkerSession:
        """Encode the requests and open the connections. Raises ``EngineError``."""
        refusal = self.refusal(plan.load)
        if refusal:
            raise EngineError(refusal)
        if not plan.requests.requests:
            raise EngineError("there is no request to send")
        if not plan.timeout > 0:
            raise EngineError(f"a time-out of {plan.timeout:g} s leaves no time for an answer")
        return _open(plan)


def _open(plan: Plan) -> WorkerSession:
    host, _, port = plan.address.rpartition(":")
    if not host or not port.isdecimal():
        raise EngineError(f"{plan.address!r} is not an address", hint="Write host:port.")
    concurrency = plan.load.concurrency
    assert isinstance(concurrency, int)
    payloads = [encode_http(request, host=plan.address, headers=plan.headers) for request in plan.requests.requests]
    setup: Message = {
        "host": host.strip("[]"),
        "port": int(port),
        "concurrency": concurrency,
        "timeout": plan.timeout,
        "patience": CONNECTING,
    }
    worker = WorkerProcess(setup, payloads, timeout=SLACK)
    try:
        answer, _ = worker.receive(timeout=CONNECTING + SLACK)
        if answer["kind"] == "unreachable":
            raise EngineError(f"no connection to {plan.address}: {answer['reason']}", hint="Does the server still run?")
    except BaseException:
        worker.close()
        raise
    return WorkerSession([worker], concurrency=concurrency, timeout=plan.timeout)
