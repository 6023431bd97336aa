"""A running load: worker processes that send, and the traces that they hand over."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pytest_triton.errors import EngineError
from pytest_triton.load.channel import Message
from pytest_triton.load.process import WorkerProcess
from pytest_triton.observation import Trace
from pytest_triton.secrecy import mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONNECTING = 10.0
"""How long the connections may take to open, in seconds."""

SLACK = 30.0
"""How much later than it said a worker may answer before it counts as lost, in seconds."""

_LEAD = 20_000_000
"""How far ahead several workers are told to start, in ns, so that all of them start at once."""

Columns = dict[str, "NDArray[Any]"]
Check = Callable[[int, Message, Columns, Sequence[memoryview]], Mapping[int, str]]
"""Looks at the answers that a worker, by its number, handed over beside the columns; may set statuses, and says what
new ones mean.
"""


class _Phase(enum.Enum):
    OPEN = enum.auto()
    RUNNING = enum.auto()
    STOPPED = enum.auto()
    ENDED = enum.auto()
    """All that the workers had to tell has been told."""


class WorkerSession:
    """A load that runs in its worker processes, all of which are connected when this is made.

    A worker understands ``start`` (``at``: when, in ns), ``collect`` (``seconds``, ``requests``, ``limit``) and
    ``stop``, and answers the first with ``started`` and the others with a ``trace``: the numbers of the window, and the
    columns, whose names and type codes stand in ``columns``, in that order. It ends when its channel closes.
    """

    shortest = 0.0

    def __init__(
        self,
        workers: Sequence[WorkerProcess],
        *,
        concurrency: int,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        check: Check | None = None,
        keep: Callable[[Sequence[WorkerProcess]], None] | None = None,
    ) -> None:
        """``concurrency`` is the whole load's (0 in open loop), ``timeout`` a request's in seconds.

        The values of the requests' ``headers`` are left out of the reasons why some failed. Workers that have stopped
        in order go to ``keep`` in the end, if they can send another load; others end.
        """
        self._workers = workers
        self._concurrency = concurrency
        self._timeout = timeout
        self._headers = headers or {}
        self._check = check
        self._keep = keep
        self._phase = _Phase.OPEN
        self._mark = 0
        self._left: list[Columns | None] = [None] * len(workers)
        """What each worker handed over that completed after the last trace's end."""
        self.received = 0
        """Bytes of the bodies of all successful answers up to the last trace."""
        self.hopeless = ""
        """Why nothing succeeded any more when the last trace was taken; empty while something did."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._keep is not None and self._phase is _Phase.ENDED:
            self._keep(self._workers)
        else:
            close_all(self._workers)

    def start(self) -> None:
        """Begin to send. The connections are open already."""
        if self._phase is not _Phase.OPEN:
            raise EngineError("a load session starts once", hint="Open another one.")
        self._mark = time.monotonic_ns() + (_LEAD if len(self._workers) > 1 else 0)
        self._tell({"kind": "start", "at": self._mark})
        for worker in self._workers:
            worker.receive(timeout=SLACK)
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
        turns = requests / max(self._concurrency, 1) + 1
        most = max(seconds, turns * (self._timeout + 1) if limit is None else limit)
        share = -(-requests // len(self._workers))
        self._tell({"kind": "collect", "seconds": seconds, "requests": share, "limit": most})
        return self._trace(most)

    def stop(self) -> Trace:
        """Stop sending, wait for what is in flight, and return what completed since the last call."""
        if self._phase is not _Phase.RUNNING:
            raise EngineError("there is no load to stop", hint="Call start() before, and stop() once.")
        self._phase = _Phase.STOPPED
        self._tell({"kind": "stop"})
        # A sequence that is under way takes one more request to end it.
        trace = self._trace(2 * self._timeout)
        self._phase = _Phase.ENDED
        return trace

    def _tell(self, command: Message) -> None:
        for worker in self._workers:
            worker.send(command, timeout=SLACK)

    def _trace(self, seconds: float) -> Trace:
        """Receive what every worker sends within ``seconds``, and join it up to the earliest of their ends."""
        messages: list[Message] = []
        parts: list[Columns] = []
        reasons: dict[int, str] = {}
        for place, worker in enumerate(self._workers):
            message, buffers = worker.receive(timeout=seconds + SLACK)
            if message["kind"] != "trace":
                raise EngineError(f"the load generator gave up: {message.get('reason', message['kind'])}")
            names = message["columns"]
            columns = {name: np.frombuffer(raw, dtype=code) for (name, code), raw in zip(names, buffers, strict=False)}
            reasons.update(message["reasons"])
            if self._check is not None:
                reasons.update(self._check(place, message, columns, buffers[len(names) :]))
            left = self._left[place]
            messages.append(message)
            parts.append(columns if left is None else _join([left, columns]))
        end: int = min(message["ended_ns"] for message in messages)
        if self._phase is _Phase.STOPPED:
            end = max(message["ended_ns"] for message in messages)
        if len(parts) > 1:
            cut = [_cut(part, end) for part in parts]
            self._left = [later for _, later in cut]
            joined = _join([now for now, _ in cut])
            columns = _take(joined, np.argsort(joined["done"], kind="stable"))
        else:
            columns = parts[0]
        self.received = sum(message["received"] for message in messages)
        told = [message["hopeless"] for message in messages]
        self.hopeless = mask(told[0], self._headers) if all(told) else ""
        started, self._mark = self._mark, end
        cpu = [message["cpu_seconds"] for message in messages]
        # A worker of several threads says how much the one that sends used.
        busiest = [message["busiest"] if "busiest" in message else message["cpu_seconds"] for message in messages]
        return Trace(
            scheduled=columns["scheduled" if "scheduled" in columns else "sent"],
            sent=columns["sent"],
            first_response=columns["first"],
            done=columns["done"],
            status=columns["status"],
            started_ns=started,
            ended_ns=end,
            cpu_seconds=sum(cpu),
            busiest=max(busiest),
            concurrency=self._concurrency,
            reasons={code: mask(reason, self._headers) for code, reason in reasons.items()},
            request=columns.get("request"),
            sequence=columns.get("sequence"),
            responses=columns.get("responses"),
            response_at=columns.get("response_at"),
            offered=sum(message.get("offered", 0) for message in messages),
            dispatched=sum(message.get("dispatched", 0) for message in messages),
        )


def await_connections(workers: Sequence[WorkerProcess], address: str, engine: str) -> None:
    """Wait until every worker has connected to ``address``. Raises ``EngineError`` when one cannot."""
    for worker in workers:
        answer, _ = worker.receive(timeout=CONNECTING + SLACK)
        if answer["kind"] == "unreachable":
            raise EngineError(f"no connection to {address}: {answer['reason']}", hint="Does the server still run?")
        if answer["kind"] == "unsendable":
            raise EngineError(f"the {engine} engine cannot send this load: {answer['reason']}")


def close_all(workers: Sequence[WorkerProcess]) -> None:
    """End every worker, also when ending one of them fails."""
    if workers:
        try:
            workers[0].close()
        finally:
            close_all(workers[1:])


def _join(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _take(columns: Columns, rows: NDArray[Any]) -> Columns:
    """Return these rows; of the responses, which are not one each, those of these rows."""
    taken = {name: column[rows] for name, column in columns.items() if name != "response_at"}
    if "response_at" in columns:
        counts = columns["responses"].astype(np.int64)
        begins = np.cumsum(counts) - counts
        picked = [np.arange(begins[row], begins[row] + counts[row]) for row in rows]
        taken["response_at"] = columns["response_at"][np.concatenate([np.empty(0, np.int64), *picked])]
    return taken


def _cut(columns: Columns, end: int) -> tuple[Columns, Columns]:
    """Split what completed up to ``end`` from what did later."""
    done = columns["done"] <= end
    return _take(columns, np.flatnonzero(done)), _take(columns, np.flatnonzero(~done))
