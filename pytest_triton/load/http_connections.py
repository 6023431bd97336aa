"""The connections of an HTTP load, one event at a time: connecting, sending, reading, every failure, every time-out.

Standard library only: this runs in the worker.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import time
from collections.abc import Sequence

from pytest_triton.load.connection import NO_SOCKET, NOTHING, Connection, Phase, Records, describe_error, reach
from pytest_triton.load.http_parser import MalformedAnswer
from pytest_triton.load.patience import FIRST_PAUSE, pause_after
from pytest_triton.load.status import LOST, MALFORMED, OK, TIMED_OUT, UNREACHABLE

_RECEIVE = 1 << 16
_SKIP = 1 << 18
_HEADS = 256
"""How many header blocks are remembered."""

_MS = 1_000_000
_SECOND = 1000 * _MS
_IDLE_PAUSE = 100 * _MS
"""How long to wait before a connection that the server closed while it was idle is opened again."""


class HttpConnections:
    """``concurrency`` connections to a server, each with one request in flight while the load runs.

    ``payloads`` are sent in rotation. A request without an answer after ``timeout`` seconds is recorded as
    a failure, and so is everything else that can go wrong; the connection is replaced and the load goes
    on. A request's time begins with the connection's, when it needs a new one. A connection whose requests
    keep failing pauses before the next, longer and longer up to one second. ``control`` is a file
    descriptor that is watched beside the connections.
    """

    def __init__(
        self, host: str, port: int, payloads: Sequence[bytes], *, concurrency: int, timeout: float, control: int
    ) -> None:
        self._host, self._port = host, port
        self._next_payload = itertools.cycle(payloads).__next__
        self._timeout = int(timeout * _SECOND)
        self._sweep_every = min(max(self._timeout // 20, FIRST_PAUSE), _SECOND // 10)
        self._sweep_at = 0
        self._epoll = select.epoll()
        self._control = control
        self._epoll.register(control, select.EPOLLIN)
        self._connections = [Connection() for _ in range(concurrency)]
        self._by_fd: dict[int, Connection] = {}
        self._waiting: dict[int, Connection] = {}
        """The connections whose request is sent and of whose answer nothing has come: the quick path's."""
        self._usual: dict[bytes, int] = {}
        """Header block of a good answer -> length of the whole answer in bytes."""
        self._buffer = bytearray(_RECEIVE)
        self._skipped = bytearray(_SKIP)
        self._sending = False
        self._last_reason = ""
        self.records = Records()
        self.reasons: dict[int, str] = {}
        self.received = 0
        """Bytes of the bodies of successful answers."""

    def open(self, seconds: float) -> None:
        """Connect everything, within ``seconds``. Raises ``OSError`` when the server cannot be reached."""
        self._family, self._sockaddr = reach(self._host, self._port, seconds)
        now = time.monotonic_ns()
        for connection in self._connections:
            self._connect(connection, now)
        end = now + int(seconds * _SECOND)
        while any(c.phase is Phase.CONNECTING for c in self._connections) and time.monotonic_ns() < end:
            for fd, events in self._epoll.poll(0.05):
                if fd != self._control:
                    self._attend(fd, events)

    def _attend(self, fd: int, events: int) -> None:
        connection = self._by_fd.get(fd)
        if connection is None:
            return  # closed by an earlier event of the same batch
        now = time.monotonic_ns()
        if connection.phase is Phase.CONNECTING:
            self._finish_connecting(connection, events, now)
        elif connection.phase is Phase.IDLE:
            # The server closed the connection, or says something unasked; no request is concerned.
            self._close(connection)
            connection.resume = max(connection.resume, now + _IDLE_PAUSE)
        else:
            if events & select.EPOLLOUT and connection.unsent:
                self._send_on(connection)
            if events & ~select.EPOLLOUT and connection.phase is Phase.BUSY:
                self._read(connection)

    def _connect(self, connection: Connection, now: int) -> None:
        """Begin to connect; the request that is to be sent on it begins now."""
        connection.resume = 0
        if self._sending:
            connection.assigned, connection.sent, connection.first = True, now, 0
        try:
            opened = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._fail(connection, UNREACHABLE, f"no socket could be made: {error.strerror}")
            return
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket, connection.fd = opened, opened.fileno()
        connection.recv_into, connection.send = opened.recv_into, opened.send
        connection.phase = Phase.CONNECTING
        self._by_fd[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        refused = opened.connect_ex(self._sockaddr)
        if refused not in (0, errno.EINPROGRESS):
            self._fail_connecting(connection, refused)

    def _finish_connecting(self, connection: Connection, events: int, now: int) -> None:
        refused = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            self._fail_connecting(connection, refused)
        elif events & select.EPOLLOUT:
            connection.phase = Phase.IDLE
            self._epoll.modify(connection.fd, select.EPOLLIN)
            if self._sending:
                self._begin(connection, connection.sent or now)

    def _begin(self, connection: Connection, now: int) -> None:
        """Send the next request, which began at ``now``."""
        connection.resume = 0
        connection.parser.reset()
        connection.phase, connection.assigned = Phase.BUSY, True
        connection.sent, connection.first = now, 0
        connection.unsent = memoryview(self._next_payload())
        self._send_on(connection)

    def _send_on(self, connection: Connection) -> None:
        try:
            gone = connection.send(connection.unsent)
        except BlockingIOError:
            gone = 0
        except OSError as error:
            self._fail_sending(connection, error)
            return
        if gone == len(connection.unsent):
            connection.unsent = NOTHING
            self._epoll.modify(connection.fd, select.EPOLLIN)
            if not connection.failures and not connection.parser.begun:
                self._waiting[connection.fd] = connection
        else:
            self._wait_to_send(connection, connection.unsent[gone:])

    def _wait_to_send(self, connection: Connection, unsent: memoryview) -> None:
        if self._waiting.pop(connection.fd, None):
            connection.parser.reset()
            connection.first = 0
        connection.unsent = unsent
        self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _read(self, connection: Connection) -> None:
        parser = connection.parser
        try:
            if parser.skippable:
                count = connection.recv_into(self._skipped)
                if 0 < count <= parser.skippable:
                    if parser.skip(count):
                        self._finish(connection, time.monotonic_ns())
                    return
                data = bytes(memoryview(self._skipped)[:count])
            else:
                data = bytes(memoryview(self._buffer)[: connection.recv_into(self._buffer)])
        except OSError as error:
            self._fail_receiving(connection, error)
            return
        self._receive(connection, data, time.monotonic_ns())

    def _receive(self, connection: Connection, data: bytes, now: int) -> None:
        """Take what came on a connection that waits for an answer; empty when the peer closed it."""
        parser = connection.parser
        if self._waiting.pop(connection.fd, None):
            parser.reset()
            connection.first = 0
        connection.first = connection.first or now
        try:
            complete = parser.feed(data) if data else parser.end()
        except MalformedAnswer as error:
            self._fail(connection, MALFORMED, f"{self._name} sent no proper HTTP answer: {error}")
            return
        if complete:
            self._finish(connection, now)
        elif not data:
            when = f"in the middle of its answer, after {parser.received} bytes of the body" if parser.begun else ""
            self._fail(connection, LOST, f"{self._name} closed the connection {when or 'instead of answering'}")

    def _finish(self, connection: Connection, now: int) -> None:
        """Record the complete answer that the parser holds."""
        parser = connection.parser
        if parser.rest:
            self._fail(connection, MALFORMED, f"{self._name} sent more bytes than its answer's length says")
        elif parser.status != 200:
            self._fail(connection, parser.status, describe_error(parser), keep=not (parser.closes or connection.unsent))
        elif not parser.received:
            self._fail(connection, MALFORMED, f"{self._name} answered 200 with an empty body")
        else:
            connection.failures = 0
            self.received += parser.received
            if parser.block and not parser.closes:
                if len(self._usual) >= _HEADS:
                    self._usual.clear()
                self._usual[parser.block] = len(parser.block) + 4 + parser.received
            self._record(connection, OK, now)
            self._go_on(connection, now, keep=not (parser.closes or connection.unsent))

    def _go_on(self, connection: Connection, now: int, *, keep: bool, pause: int = 0) -> None:
        """Send the next request on this connection, or on a new one, at once or after a pause of ns."""
        if keep:
            connection.phase = Phase.IDLE
        else:
            self._close(connection)
        if self._sending:
            if pause:
                connection.resume = now + pause
            elif keep:
                self._begin(connection, time.monotonic_ns())
            else:
                self._connect(connection, time.monotonic_ns())

    def _fail_connecting(self, connection: Connection, code: int) -> None:
        self._fail(connection, UNREACHABLE, f"no connection to {self._name}: {os.strerror(code)}")

    def _fail_sending(self, connection: Connection, error: OSError) -> None:
        self._fail(connection, LOST, f"the connection to {self._name} was lost while sending: {error.strerror}")

    def _fail_receiving(self, connection: Connection, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._fail(connection, LOST, f"the connection to {self._name} was lost while receiving: {error.strerror}")

    def _fail(self, connection: Connection, status: int, reason: str, *, keep: bool = False) -> None:
        """Record the connection's request as failed and go on, on a new connection unless ``keep``."""
        now = time.monotonic_ns()
        if connection.assigned:
            self.reasons.setdefault(status, reason)
            self._last_reason = reason
            self._waiting.pop(connection.fd, None)
            connection.failing_since = connection.failing_since if connection.failures else now
            connection.failures += 1
            self._record(connection, status, now)
        self._go_on(connection, now, keep=keep, pause=pause_after(status, connection.failures))

    def _record(self, connection: Connection, status: int, now: int) -> None:
        records = self.records
        records.sent.append(connection.sent)
        records.first.append(connection.first or now)
        records.done.append(now)
        records.status.append(status)
        connection.assigned = False

    def _close(self, connection: Connection) -> None:
        if connection.fd >= 0:
            self._waiting.pop(connection.fd, None)
            del self._by_fd[connection.fd]
            connection.socket.close()  # which takes it out of the epoll set, too
        connection.socket, connection.fd, connection.phase = NO_SOCKET, -1, Phase.CLOSED
        connection.unsent = NOTHING

    def _sweep(self, now: int) -> None:
        """Find what ran out of time, and what has paused long enough."""
        paused = False
        for connection in self._connections:
            if connection.assigned and now - connection.sent > self._timeout:
                seconds = self._timeout / _SECOND
                self._fail(connection, TIMED_OUT, f"no answer from {self._name} within {seconds:g} s")
            elif connection.resume and now >= connection.resume:
                if connection.phase is Phase.IDLE:
                    self._begin(connection, now)
                else:
                    self._connect(connection, now)
            paused = paused or connection.resume > 0
        self._sweep_at = now + (FIRST_PAUSE if paused else self._sweep_every)

    @property
    def _name(self) -> str:
        return f"{self._host}:{self._port}"
