"""A load that tritonclient's clients send: closed or open loop, one coroutine for each request in flight.

The worker of the ``tritonclient`` engine imports this.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from pytest_triton.correctness import Tolerance, find_difference
from pytest_triton.load.arrivals import due_times
from pytest_triton.load.base import Arrays, Plan
from pytest_triton.load.patience import is_hopeless, pause_after
from pytest_triton.load.place import Place
from pytest_triton.load.records import Records
from pytest_triton.load.status import OK, WRONG
from pytest_triton.load.tritonclient_clients import Answer, Client, Failed, GrpcClient, HttpClient
from pytest_triton.load.tritonclient_stream import StreamClient
from pytest_triton.load.turns import END, PIECES, START, VARIANTS, Sequences, make_turns, name_sequence

SECOND = 1_000_000_000
_SAMPLE = 16
"""One in so many answers to each request is compared where a sample is."""


class TritonclientLoad:
    """One worker's share of a plan's load."""

    def __init__(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Make the client and its objects for every request. Raises ``Unsendable``, ``InputError``, ``OSError``."""
        part, parts = setup["part"], setup["parts"]
        load = plan.load
        assert isinstance(load.concurrency, int)
        self._plan = plan
        self._client: Client = (
            StreamClient(plan) if load.streaming else HttpClient(plan) if load.protocol == "http" else GrpcClient(plan)
        )
        self._requests = [self._client.prepare(request) for request in plan.requests.requests]
        self._turns = make_turns(setup, _flag_pieces(plan))
        self._arrivals = due_times(**setup["arrivals"], part=part, parts=parts) if load.open_loop else None
        self._backlog: deque[int] = deque()
        """Arrivals that are due and not sent."""
        self._begun_at = self._due = 0
        self._arrived = asyncio.Event()
        share = load.concurrency // parts + (part < load.concurrency % parts)
        # In open loop without sequences nothing waits for a place: all failures in a row are those of one.
        self._places = [Place() for _ in range(1 if load.open_loop and load.sequence_length is None else share)]
        self.connections = 1 if load.open_loop else share
        self._seen = Counter[int]()
        """How many answers to each request came that could be compared."""
        self._last_reason = ""
        self._enough: tuple[int, asyncio.Future[None]] | None = None
        self._sending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._records = Records(setup["columns"])
        self._reasons: dict[int, str] = {}
        self._offered = self._dispatched = 0
        self._last = 0
        """No request is recorded as done before this moment: the last one's, or the last trace's end."""

    async def connect(self, patience: float) -> None:
        """Open the connections. Raises ``Unreachable``."""
        await self._client.connect(self.connections, patience)

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()

    def start(self, at: int, group: asyncio.TaskGroup) -> None:
        """Begin to send at the monotonic time ``at``, in ns."""
        self._sending, self._begun_at, self._last = True, at, at
        if self._arrivals is not None:
            self._due = at + next(self._arrivals)
            group.create_task(self._dispatch(group))
            if not isinstance(self._turns, Sequences):
                return
        for place in self._places:
            self._spawn(group, self._keep_on(place, at))

    async def wait(self, seconds: float, requests: int, limit: float) -> None:
        """Let the load go on for ``seconds``, and until ``requests`` have completed, at most for ``limit`` seconds."""
        began, before = time.monotonic_ns(), len(self._records.done)
        await asyncio.sleep(seconds)
        while len(self._records.done) - before < requests and not self.hopeless:
            rest = limit - (time.monotonic_ns() - began) / SECOND
            if rest <= 0:
                return
            self._enough = (before + requests, asyncio.get_running_loop().create_future())
            await asyncio.wait([self._enough[1]], timeout=min(rest, 1.0))
            self._enough = None

    async def drain(self) -> None:
        """Begin nothing new but the last request of each sequence, and wait for what is in flight."""
        self._offer(time.monotonic_ns())
        self._sending = False
        self._backlog.clear()
        self._arrived.set()
        if isinstance(self._turns, Sequences):
            self._turns.ending = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def take(self, now: int) -> tuple[dict[str, Any], list[bytes]]:
        """Return what completed since the last call, as a trace's message has it, and the columns' contents."""
        self._last = max(self._last, now)
        self._offer(now)
        names, contents = self._records.take()
        message = {
            "columns": names,
            "reasons": list(self._reasons.items()),
            "received": 0,
            "hopeless": self.hopeless,
            "offered": self._offered,
            "dispatched": self._dispatched,
        }
        self._offered = self._dispatched = 0
        return message, contents

    @property
    def hopeless(self) -> str:
        """Why nothing succeeds any more; empty while something might."""
        return self._last_reason if is_hopeless(self._places, time.monotonic_ns()) else ""

    def _spawn(self, group: asyncio.TaskGroup, work: Any) -> None:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_on(self, place: Place, at: int) -> None:
        """Send one request after the other on ``place``: when the one before has ended, or when one is due."""
        await _sleep_until(at)
        while self._sending or self._turns.is_open(place.turn):
            scheduled = await self._next_due() if self._arrivals is not None and self._sending else 0
            if not self._sending and not self._turns.is_open(place.turn):
                return
            self._dispatched += scheduled > 0
            place.scheduled = scheduled or time.monotonic_ns()
            status = await self._send(place)
            pause = pause_after(status, place.failures) if status != OK and self._arrivals is None else 0
            if pause:
                await asyncio.sleep(pause / SECOND)

    async def _next_due(self) -> int:
        """Wait for a request that is due and take it; 0 when the load ends before."""
        while not self._backlog:
            if not self._sending:
                return 0
            self._arrived.clear()
            await self._arrived.wait()
        return self._backlog.popleft()

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Send requests when they are due, or leave them to the places of sequences."""
        while True:
            await _sleep_until(self._due)
            if not self._sending:
                return
            self._offer(time.monotonic_ns())
            if isinstance(self._turns, Sequences):
                self._arrived.set()
                continue
            while self._backlog:
                place = Place()
                place.scheduled = self._backlog.popleft()
                self._dispatched += 1
                self._spawn(group, self._send_alone(place))
                # What came back meanwhile is looked at, so that it does not wait for all that is late.
                await asyncio.sleep(0)

    async def _send_alone(self, place: Place) -> None:
        """Send one request of an open loop; its failure counts for all of them."""
        status = await self._send(place)
        (every,) = self._places
        every.failing_since = 0 if status == OK else every.failing_since or place.failing_since
        every.failures = 0 if status == OK else every.failures + 1

    def _offer(self, now: int) -> None:
        """Note what has become due, while the load goes on."""
        if self._arrivals is not None and self._sending:
            while self._due <= now:
                self._backlog.append(self._due)
                self._offered += 1
                self._due = self._begun_at + next(self._arrivals)

    async def _send(self, place: Place) -> int:
        """Send the next request on ``place``, record it, and return its status."""
        turn = place.turn
        flags = self._turns.next(turn)[0]
        request = self._requests[turn.request]
        sequence = self._sequence(turn.sequence, flags) if isinstance(self._turns, Sequences) else {}
        place.sent = time.monotonic_ns()
        try:
            answer = await self._client.send(request, sequence)
            status, reason = self._compare(turn.request, answer)
        except Failed as failure:
            answer, status, reason = failure.answer, failure.status, failure.reason
        # Answers come from several threads: one may be noted a little after another that came later.
        now = self._last = max(self._last, answer.done or time.monotonic_ns())
        place.first = answer.times[0] if answer.times else now
        place.responses = answer.times
        if status == OK:
            place.failures = 0
        else:
            self._reasons.setdefault(status, reason)
            self._last_reason = reason
            place.failing_since = place.failing_since if place.failures else now
            place.failures += 1
            turn.left = 0
        self._records.add(place, status, now)
        if self._enough is not None and len(self._records.done) >= self._enough[0] and not self._enough[1].done():
            self._enough[1].set_result(None)
        return status

    def _sequence(self, number: int, flags: int) -> dict[str, Any]:
        return {
            "sequence_id": name_sequence(number) if self._plan.string_ids else number,
            "sequence_start": bool(flags & START),
            "sequence_end": bool(flags & END),
        }

    def _compare(self, index: int, answer: Answer) -> tuple[int, str]:
        """Return the status of an answer that came: compared with what it must be, where that is to be done."""
        expected = self._requests[index].expected
        if self._plan.validate == "none" or expected is None:
            return OK, ""
        self._seen[index] += 1
        if self._plan.validate == "sample" and self._seen[index] % _SAMPLE != 1:
            return OK, ""
        wrong = _find_wrong(answer.result, expected, self._plan.tolerances)
        return (WRONG, f"wrong answer: {wrong}") if wrong else (OK, "")


def _flag_pieces(plan: Plan) -> list[bytes]:
    """Return, in place of encoded requests, pieces of which a turn's first byte is its flags: the client encodes."""
    if plan.load.sequence_length is None:
        return [b"\0"] * len(plan.requests.requests)
    flags = [bytes([variant]) for variant in range(VARIANTS)]
    return [*flags, *[b""] * (PIECES - VARIANTS)] * len(plan.requests.requests)


async def _sleep_until(moment: int) -> None:
    seconds = (moment - time.monotonic_ns()) / SECOND
    if seconds > 0:
        await asyncio.sleep(seconds)


def _find_wrong(result: Any, expected: Arrays, tolerances: Mapping[str, Tolerance]) -> str | None:
    """Say what is wrong with a result; None when nothing is."""
    if result is None:
        return "it carries no output at all"
    outputs = {name: result.as_numpy(name) for name in expected}
    missing = [name for name, array in outputs.items() if array is None]
    if missing:
        return f"output {missing[0]!r} is missing"
    return find_difference(outputs, expected, tolerances=tolerances)
