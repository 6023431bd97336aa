"""The process that sends loads: driven by commands over a socket, sending on while it answers them.

Standard library only, so that it starts in a few hundredths of a second and nothing disturbs it. It is
started by ``process.py`` and ends when its parent does.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from pytest_triton.load.channel import Buffer, Message, Unpacker, pack
from pytest_triton.load.connection import describe
from pytest_triton.load.loop import Loop
from pytest_triton.load.setup import make_load

_SECOND = 1_000_000_000
_CHECK_PARENT = _SECOND
_PIECE = 1 << 18
_IDLE = 4.0
"""Seconds that this waits for another load to send."""
_LEAVING = _SECOND // 2
"""How long what is in flight may take to end when the parent has gone, in ns: less than the parent waits for us."""


class _ParentGone(Exception):
    """Nobody is there to send for."""


class _Worker:
    """Answer commands over ``control`` while the load runs."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._unpacker = Unpacker()
        self._mark = 0
        self._cpu_mark = 0.0
        self._offered = self._dispatched = 0

    def serve(self, patience: float | None) -> bool:
        """Send one load, from its description to its end; tell whether there may be another one.

        After ``patience`` seconds without a description, none will come.
        """
        self._control.settimeout(patience)
        setup, payloads = self._receive()
        while setup is None:
            setup, payloads = self._receive()
        try:
            self._load: Loop = make_load(setup, [bytes(payload) for payload in payloads], self._control.fileno())
            del payloads
            self._load.open(setup["patience"])
        except OSError as error:
            self._control.sendall(b"".join(pack({"kind": "unreachable", "reason": describe(error)})))
            return False
        self._offered = self._dispatched = 0
        # Nothing makes reference cycles while a load runs; the collector would only look for them at bad moments.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._control.setblocking(False)
        try:
            self._obey()
        except _ParentGone:
            self._leave()
            return False
        self._load.close()
        del self._load
        gc.unfreeze()
        return True

    def _obey(self) -> None:
        load = self._load
        self._answer({"kind": "ready"})
        while True:
            command = self._next_command()
            if command["kind"] == "start":
                self._mark, self._cpu_mark = command["at"], time.thread_time()
                self._wait_until(command["at"])
                load.start(command["at"])
                self._answer({"kind": "started"})
            elif command["kind"] == "collect":
                self._collect(command["seconds"], command["requests"], command["limit"])
            elif command["kind"] == "stop":
                load.drain()
                while not load.drained:
                    self._drive(time.monotonic_ns() + _CHECK_PARENT, drain=True)
                self._hand_over()
                return

    def _leave(self) -> None:
        """Let what is in flight end, as far as it does so soon.

        Triton may crash when a client closes a gRPC connection with requests under way: seen with 2.51, whose log then
        ends with signal 11.
        """
        self._load.forget_control()
        self._load.drain()
        self._load.run(time.monotonic_ns() + _LEAVING, drain=True)

    def _collect(self, seconds: float, requests: int, limit: float) -> None:
        load = self._load
        began = time.monotonic_ns()
        least, most = began + int(seconds * _SECOND), began + int(limit * _SECOND)
        before = len(load.records.done)
        while (now := time.monotonic_ns()) < least:
            self._drive(min(least, now + _CHECK_PARENT))
        while len(load.records.done) - before < requests and (now := time.monotonic_ns()) < most:
            if load.hopeless():
                break
            self._drive(min(most, now + _CHECK_PARENT), before + requests)
        self._hand_over()

    def _hand_over(self) -> None:
        """Send what completed since the last time, while the load goes on."""
        load = self._load
        now, cpu = time.monotonic_ns(), time.thread_time()
        names, columns = load.records.take()
        offered, dispatched = load.offered(now), load.dispatched
        new = load.answers.take_new() if load.answers is not None else []
        message = {
            "kind": "trace",
            "columns": names,
            "started_ns": self._mark,
            "ended_ns": now,
            "cpu_seconds": cpu - self._cpu_mark,
            "reasons": list(load.reasons.items()),
            "received": load.received,
            "hopeless": load.hopeless(),
            "offered": offered - self._offered,
            "dispatched": dispatched - self._dispatched,
            "answers": [request for request, _ in new],
        }
        self._mark, self._cpu_mark = now, cpu
        self._offered, self._dispatched = offered, dispatched
        self._answer(message, [*columns, *(body for _, body in new)])

    def _wait_until(self, at: int) -> None:
        while (ahead := at - time.monotonic_ns()) > 0:
            time.sleep(ahead / _SECOND)

    def _answer(self, message: Message, buffers: Sequence[Buffer] = ()) -> None:
        self._load.watch_control(writable=True)
        for piece in pack(message, buffers):
            rest = memoryview(piece)
            while rest:
                if self._drive(time.monotonic_ns() + _CHECK_PARENT) & select.EPOLLOUT:
                    rest = rest[self._write(rest[:_PIECE]) :]
        self._load.watch_control(writable=False)

    def _write(self, piece: Buffer) -> int:
        try:
            return self._control.send(piece)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _ParentGone from error

    def _next_command(self) -> Message:
        while True:
            if self._drive(time.monotonic_ns() + _CHECK_PARENT) & select.EPOLLIN:
                command, _ = self._receive()
                if command is not None:
                    return command

    def _drive(self, until: int, count: int = 1 << 62, *, drain: bool = False) -> int:
        """Let the load go on. Raises ``_ParentGone``, however long the load was to go on."""
        events = self._load.run(until, count, drain=drain)
        if os.getppid() != self._parent or events & (select.EPOLLHUP | select.EPOLLERR):
            raise _ParentGone
        return events

    def _receive(self) -> tuple[Message | None, list[memoryview]]:
        try:
            count = self._control.recv_into(self._unpacker.space())
        except OSError as error:
            raise _ParentGone from error
        if not count:
            raise _ParentGone
        return self._unpacker.advance(count) or (None, [])


def main() -> None:
    """Serve one session after another. Arguments: the control socket's descriptor, the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    with socket.socket(fileno=int(sys.argv[1])) as control:
        worker = _Worker(control, int(sys.argv[2]))
        try:
            more = worker.serve(None)
            while more:
                more = worker.serve(_IDLE)
        except _ParentGone:
            return
