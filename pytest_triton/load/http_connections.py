"""The connections of an HTTP load, one event at a time: connecting, sending, reading, every failure.

Standard library only: this runs in the worker.
"""

from __future__ import annotations

import json
import resource
import select
import time
from collections import deque
from typing import Any

from pytest_triton.load.answers import UNSEEN
from pytest_triton.load.connection import BOTH, NO_SOCKET, NOTHING, Socket, Target, describe
from pytest_triton.load.http_parser import AnswerParser, MalformedAnswer
from pytest_triton.load.loop import SECOND, Loop
from pytest_triton.load.place import Phase, Place
from pytest_triton.load.status import LOST, MALFORMED, OK, UNREACHABLE
from pytest_triton.load.turns import Sequences

_RECEIVE = 1 << 16
_SKIP = 1 << 18
_HEADS = 256
"""How many header blocks are remembered."""

_MS = 1_000_000
_IDLE_PAUSE = 100 * _MS
"""How long to wait before a connection that the server closed while it was idle is opened again."""

_SPARE = 2
_MOST = 4096
_OTHER_DESCRIPTORS = 64


class HttpConnection(Place):
    """A place of an HTTP load: it has a connection of its own."""

    __slots__ = ("events", "fd", "parser", "recv_into", "send", "socket", "unsent")

    def __init__(self) -> None:
        super().__init__()
        self.socket: Socket | None = None
        self.recv_into: Any = NO_SOCKET.recv_into
        self.send: Any = NO_SOCKET.send
        self.fd = -1
        self.events = 0
        self.parser = AnswerParser()
        self.unsent = NOTHING
        """What of the request is still to be sent."""


class HttpConnections(Loop):
    """``places`` connections to a server, each with one request in flight at a time; in open loop more, if more are
    needed.

    A request's time begins with the connection's, when it needs a new one.
    """

    def __init__(self, target: Target, *, places: int, fixed: bool, **common: Any) -> None:
        """``fixed`` forbids more places than ``places``."""
        super().__init__(name=target.name, **common)
        self._target = target
        self._most = places if fixed else max(places, _descriptors())
        self._connections: list[HttpConnection] = []
        self._by_fd: dict[int, HttpConnection] = {}
        self._waiting: dict[int, HttpConnection] = {}
        """The connections whose request is sent and of whose answer nothing has come: the quick path's."""
        self._usual: dict[bytes, int] = {}
        """Header block of a good answer -> length of the whole answer in bytes."""
        self._idle: deque[HttpConnection] = deque()
        self._closed: deque[HttpConnection] = deque()
        """In open loop the places without a request, with a connection and without one."""
        self._buffer = bytearray(_RECEIVE)
        self._skipped = bytearray(_SKIP)
        for _ in range(places):
            self._add_place()

    def _add_place(self) -> HttpConnection:
        connection = HttpConnection()
        self._connections.append(connection)
        self._places.append(connection)
        return connection

    def open(self, seconds: float) -> None:
        """Connect everything, within ``seconds``. Raises ``OSError`` when the server cannot be reached."""
        self._target.reach(seconds)
        for connection in self._connections:
            self._connect(connection)
        end = time.monotonic_ns() + int(seconds * SECOND)
        while any(c.phase is Phase.CONNECTING for c in self._connections) and time.monotonic_ns() < end:
            for fd, events in self._epoll.poll(0.05):
                if fd != self._control:
                    self._attend(fd, events)

    def _disconnect(self) -> None:
        for connection in self._connections:
            self._abandon(connection)

    def _attend(self, fd: int, events: int) -> None:
        connection = self._by_fd.get(fd)
        if connection is None:
            return  # closed by an earlier event of the same batch
        if connection.phase is Phase.CONNECTING:
            self._go_on_connecting(connection, events)
        elif connection.phase is Phase.IDLE:
            self._attend_idle(connection)
        else:
            if events & select.EPOLLOUT and connection.unsent:
                self._send_on(connection)
            if events & ~select.EPOLLOUT and connection.phase is Phase.BUSY:
                self._read(connection)

    def _attend_idle(self, connection: HttpConnection) -> None:
        """The server closed the connection, or says something unasked; no request is concerned."""
        try:
            connection.recv_into(self._buffer)
        except BlockingIOError:
            return  # TLS has its own messages
        except OSError:
            pass
        if self._arrivals is not None and connection in self._idle:
            self._idle.remove(connection)
            self._closed.append(connection)
        self._abandon(connection)
        if self._arrivals is None:
            connection.resume = max(connection.resume, time.monotonic_ns() + _IDLE_PAUSE)

    def _watch(self, connection: HttpConnection, events: int) -> None:
        if connection.events != events:
            connection.events = events
            self._epoll.modify(connection.fd, events)

    def _connect(self, connection: HttpConnection) -> None:
        """Begin to connect; the request that is assigned to it, if one is, waits for that."""
        try:
            opened = Socket(self._target)
        except OSError as error:
            self._fail(connection, UNREACHABLE, f"no connection to {self._name}: {describe(error)}")
            return
        connection.socket, connection.fd = opened, opened.fd
        connection.phase, connection.events = Phase.CONNECTING, BOTH
        self._by_fd[connection.fd] = connection
        self._epoll.register(connection.fd, BOTH)

    def _go_on_connecting(self, connection: HttpConnection, events: int) -> None:
        assert connection.socket is not None
        try:
            wanted = connection.socket.connect_on(events)
        except OSError as error:
            self._fail(connection, UNREACHABLE, f"no connection to {self._name}: {describe(error)}")
            return
        if wanted:
            self._watch(connection, wanted)
            return
        connection.recv_into, connection.send = connection.socket.recv_into, connection.socket.send
        connection.phase = Phase.IDLE
        self._watch(connection, select.EPOLLIN)
        if connection.assigned:
            self._send(connection)
        elif self._arrivals is not None and self._sending:
            self._go_on(connection, time.monotonic_ns())

    def _free_place(self) -> Place | None:
        """Prefer a connection that was used just now; have one to spare where that is allowed."""
        if self._idle:
            if len(self._idle) <= _SPARE and len(self._places) < self._most:
                self._connect(self._add_place())
            # Sequences take turns, all else keeps few connections busy.
            return self._idle.popleft() if isinstance(self._turns, Sequences) else self._idle.pop()
        if self._closed:
            return self._closed.popleft()
        return self._add_place() if len(self._places) < self._most else None

    def _park(self, place: Place) -> None:
        assert isinstance(place, HttpConnection)
        (self._closed if place.phase is Phase.CLOSED else self._idle).append(place)

    def _begin(self, place: Place) -> None:
        assert isinstance(place, HttpConnection)
        place.resume = 0
        place.assigned = True
        place.sent, place.first = time.monotonic_ns(), 0
        if place.phase is Phase.IDLE:
            self._send(place)
        elif place.phase is Phase.CLOSED:
            self._connect(place)

    def _send(self, connection: HttpConnection) -> None:
        connection.parser.reset()
        connection.phase = Phase.BUSY
        connection.parser.keeping = self.answers is not None and self.answers.wanted()
        connection.unsent = memoryview(self._turns.next(connection.turn))
        self._send_on(connection)

    def _send_on(self, connection: HttpConnection) -> None:
        try:
            gone = connection.send(connection.unsent)
        except BlockingIOError:
            gone = 0
        except OSError as error:
            self._fail_sending(connection, error)
            return
        if gone == len(connection.unsent):
            connection.unsent = NOTHING
            self._watch(connection, select.EPOLLIN)
            if not connection.failures and not connection.parser.begun:
                self._waiting[connection.fd] = connection
        else:
            self._wait_to_send(connection, connection.unsent[gone:])

    def _wait_to_send(self, connection: HttpConnection, unsent: memoryview) -> None:
        if self._waiting.pop(connection.fd, None):
            connection.parser.reset()
            connection.first = 0
        connection.unsent = unsent
        self._watch(connection, BOTH)

    def _read(self, connection: HttpConnection) -> None:
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

    def _receive(self, connection: HttpConnection, data: bytes, now: int) -> None:
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

    def _finish(self, connection: HttpConnection, now: int) -> None:
        """Record the complete answer that the parser holds."""
        parser = connection.parser
        keep = not (parser.closes or connection.unsent)
        if parser.rest:
            self._fail(connection, MALFORMED, f"{self._name} sent more bytes than its answer's length says")
        elif parser.status != 200:
            if keep:
                connection.phase = Phase.IDLE
            self._fail(connection, parser.status, describe_error(parser), keep=keep)
        elif not parser.received:
            self._fail(connection, MALFORMED, f"{self._name} answered 200 with an empty body")
        else:
            connection.failures = 0
            self.received += parser.received
            if parser.block and not parser.closes:
                if len(self._usual) >= _HEADS:
                    self._usual.clear()
                self._usual[parser.block] = len(parser.block) + 4 + parser.received
            answer = UNSEEN
            if self.answers is not None and parser.keeping:
                answer = self.answers.number(connection.turn.request, bytes(parser.kept))
            self._end(connection, OK, now, answer)
            if keep:
                connection.phase = Phase.IDLE
            else:
                self._abandon(connection)
            self._go_on(connection, now)

    def _fail_sending(self, connection: HttpConnection, error: OSError) -> None:
        self._fail(connection, LOST, f"the connection to {self._name} was lost while sending: {describe(error)}")

    def _fail_receiving(self, connection: HttpConnection, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._fail(connection, LOST, f"the connection to {self._name} was lost while receiving: {describe(error)}")

    def _abandon(self, place: Place) -> None:
        """Close the connection: nothing else ends a request of HTTP/1.1."""
        assert isinstance(place, HttpConnection)
        if place.socket is not None:
            self._waiting.pop(place.fd, None)
            del self._by_fd[place.fd]
            place.socket.close()
        place.socket, place.fd, place.phase = None, -1, Phase.CLOSED
        place.recv_into, place.send = NO_SOCKET.recv_into, NO_SOCKET.send
        place.unsent = NOTHING


def describe_error(parser: AnswerParser) -> str:
    """Say what an error answer says: Triton's ``{"error": ...}``, or the beginning of its body."""
    text = parser.kept[:4096].decode(errors="replace").strip()
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict) and isinstance(content.get("error"), str):
        text = content["error"]
    return f"HTTP {parser.status}: {text[:500]}" if text else f"HTTP {parser.status}"


def _descriptors() -> int:
    """Say how many connections the system lets this process have, and not too many for a server."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(soft - _OTHER_DESCRIPTORS, _MOST) if soft != resource.RLIM_INFINITY else _MOST
