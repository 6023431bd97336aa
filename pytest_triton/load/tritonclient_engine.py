"""The reference engine: tritonclient's own clients, as users write them, in a process of their own."""

from __future__ import annotations

import pickle
from dataclasses import replace

from pytest_triton.case import Load
from pytest_triton.load.base import Plan
from pytest_triton.load.channel import Message
from pytest_triton.load.description import (
    check_plan,
    describe_arrivals,
    describe_columns,
    describe_sequences,
    refuse_load,
)
from pytest_triton.load.process import WorkerProcess
from pytest_triton.load.session import CONNECTING, SLACK, WorkerSession, await_connections, close_all


class TritonclientEngine:
    """Sends with ``tritonclient``: the asyncio clients of HTTP and gRPC, and gRPC's streams.

    It encodes every request anew, as a program that serves its users would. So it says what such a program gets, and
    takes more of the machine than the wire engine does.
    """

    name = "tritonclient"

    def __init__(self, workers: int = 0) -> None:
        """``workers`` processes share a load; 0 leaves it to how busy they are."""
        self.workers = workers

    def refusal(self, load: Load) -> str | None:
        """Say why this engine cannot send ``load``, or None if it can."""
        return refuse_load(self.name, load)

    def open(self, plan: Plan) -> WorkerSession:
        """Prepare the requests and open the connections. Raises ``EngineError``."""
        check_plan(plan, self.refusal(plan.load))
        return _open(plan)


def _open(plan: Plan) -> WorkerSession:
    concurrency = plan.load.concurrency
    assert isinstance(concurrency, int)
    alone = plan.load.open_loop and plan.load.sequence_length is None
    parts = max(1, plan.workers if alone else min(plan.workers, concurrency))
    packed = pickle.dumps(replace(plan, headers=dict(plan.headers)))
    setup: Message = {
        "patience": CONNECTING,
        "parts": parts,
        "streams": plan.requests.streams,
        "sequences": describe_sequences(plan, id_form="decimal"),
        "arrivals": describe_arrivals(plan),
        "columns": describe_columns(plan),
    }
    workers: list[WorkerProcess] = []
    try:
        for part in range(parts):
            share = {**setup, "part": part}
            workers.append(WorkerProcess("tritonclient_worker", packages=True))
            workers[-1].send(share, [packed], timeout=SLACK)
        await_connections(workers, plan.address, TritonclientEngine.name)
    except BaseException:
        close_all(workers)
        raise
    return WorkerSession(
        workers,
        concurrency=0 if plan.load.open_loop else concurrency,
        timeout=plan.timeout,
        headers=plan.headers,
    )
