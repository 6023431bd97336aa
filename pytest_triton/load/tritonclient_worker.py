"""The process in which tritonclient's clients send the load: the same commands and answers as ``worker.py``.

It is started by ``process.py`` and ends when its parent does.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import selectors
import signal
import socket
import sys
import time

from pytest_triton.errors import PytestTritonError
from pytest_triton.load.channel import Message, Unpacker, pack
from pytest_triton.load.tritonclient_clients import Unreachable, Unsendable
from pytest_triton.load.tritonclient_load import TritonclientLoad

_CHECK_PARENT = 1.0
_LAST_WORDS = 5
"""Seconds after which a process that does not end, because a thread of a client hangs, is ended by the system."""


class _ParentGone(Exception):
    """Nobody is there to send for."""


class _PreciseSelector(selectors.EpollSelector):
    """Waits to the microsecond; epoll itself rounds up to the millisecond, by which requests would be late."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


class _Worker:
    """Answers commands over ``control`` while the load goes on."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._unpacker = Unpacker()
        self._mark = 0
        self._cpu_mark = self._thread_mark = 0.0

    async def serve(self, group: asyncio.TaskGroup) -> None:
        """Answer until the channel closes, which raises ``_ParentGone``."""
        setup, buffers = await self._receive()
        try:
            load = TritonclientLoad(pickle.loads(buffers[0]), setup)
            del buffers
            await load.connect(setup["patience"])
        except Unreachable as error:
            await self._answer({"kind": "unreachable", "reason": str(error)})
            return
        except (Unsendable, PytestTritonError, OSError) as error:
            await self._answer({"kind": "unsendable", "reason": str(error)})
            return
        group.create_task(self._watch_parent())
        try:
            await self._answer({"kind": "ready"})
            while True:
                command, _ = await self._receive()
                if command["kind"] == "start":
                    self._mark = command["at"]
                    self._cpu_mark, self._thread_mark = time.process_time(), time.thread_time()
                    load.start(command["at"], group)
                    await self._answer({"kind": "started"})
                    continue
                if command["kind"] == "collect":
                    await load.wait(command["seconds"], command["requests"], command["limit"])
                else:
                    await load.drain()
                await self._hand_over(load)
        finally:
            await load.close()

    async def _hand_over(self, load: TritonclientLoad) -> None:
        """Send what completed since the last time, while the load goes on."""
        now, cpu, thread = time.monotonic_ns(), time.process_time(), time.thread_time()
        message, contents = load.take(now)
        message |= {
            "kind": "trace",
            "started_ns": self._mark,
            "ended_ns": now,
            "cpu_seconds": cpu - self._cpu_mark,
            "busiest": thread - self._thread_mark,
        }
        self._mark, self._cpu_mark, self._thread_mark = now, cpu, thread
        await self._answer(message, contents)

    async def _answer(self, message: Message, contents: list[bytes] | None = None) -> None:
        loop = asyncio.get_running_loop()
        try:
            for piece in pack(message, contents or []):
                await loop.sock_sendall(self._control, piece)
        except OSError as error:
            raise _ParentGone from error

    async def _receive(self) -> tuple[Message, list[memoryview]]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                count = await loop.sock_recv_into(self._control, self._unpacker.space())
            except OSError as error:
                raise _ParentGone from error
            if not count:
                raise _ParentGone
            received = self._unpacker.advance(count)
            if received is not None:
                return received

    async def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            await asyncio.sleep(_CHECK_PARENT)
        raise _ParentGone


async def _serve(control: socket.socket, parent: int) -> None:
    async with asyncio.TaskGroup() as group:
        await _Worker(control, parent).serve(group)


def main() -> None:
    """Serve one session. Arguments: the control socket's descriptor, the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.setblocking(False)
        try:
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_PreciseSelector())) as runner:
                try:
                    runner.run(_serve(control, int(sys.argv[2])))
                finally:
                    signal.alarm(_LAST_WORDS)
        except* _ParentGone:
            pass
