"""The connections and the places of a gRPC load: connecting, beginning requests, every connection that is lost.

Standard library and ``hpack`` only: this runs in the worker.
"""

from __future__ import annotations

import abc
import time
from collections import deque
from typing import Any

from pytest_triton.load.connection import Target, describe
from pytest_triton.load.grpc_answer import PREFIX, Block, BlockReader, MessageReader
from pytest_triton.load.grpc_connection import GrpcConnection, State
from pytest_triton.load.http2 import BrokenFrames
from pytest_triton.load.loop import SECOND, Loop
from pytest_triton.load.place import Phase, Place
from pytest_triton.load.status import LOST, MALFORMED, UNREACHABLE
from pytest_triton.load.turns import Sequences

RECEIVE = 1 << 18
"""Most bytes that are read at once."""
_MOST = 4096


class GrpcPlace(Place):
    """A place of a gRPC load, and the stream of its request, or the one that it keeps."""

    __slots__ = ("channel", "connection", "ends", "last", "reader", "received", "stream", "taken", "unsent", "window")

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.phase = Phase.IDLE
        self.channel = channel
        self.connection: GrpcConnection | None = None
        self.stream = b""
        self.unsent = memoryview(b"")
        self.window = 0
        self.ends = True
        self.taken = 0
        self.received = 0
        """Bytes of the responses to a streamed request."""
        self.reader = MessageReader(wanted=False)
        self.last: bytes | None = None
        """The message that came; the last of them on a stream."""


class GrpcChannels(Loop):
    """``places`` requests at a time over ``channels`` connections; in open loop more, if more are needed.

    With ``streaming`` each place keeps a bidirectional stream, on which its requests follow each other. A request's
    time begins with the connection's, when it needs a new one.
    """

    def __init__(
        self,
        target: Target,
        *,
        places: int,
        fixed: bool,
        channels: int,
        streaming: bool,
        blocks: tuple[bytes, bytes, bytes],
        first_stream: int = 1,
        **common: Any,
    ) -> None:
        super().__init__(name=target.name, **common)
        self._target = target
        self._streaming = streaming
        self._most = places if fixed else max(places, _MOST)
        self._blocks = blocks
        self._first_stream = first_stream
        self._blocks_read = BlockReader()
        self._channels: list[GrpcConnection | None] = [None] * channels
        self._waiting: list[deque[GrpcPlace]] = [deque() for _ in range(channels)]
        """Places whose request waits until their channel's connection takes another stream."""
        self._connections: dict[int, GrpcConnection] = {}
        self._free: deque[GrpcPlace] = deque()
        """In open loop the places without a request."""
        self._buffer = bytearray(RECEIVE)
        self._taking: GrpcConnection | None = None
        """The connection whose answers are being taken: what follows from them is sent in one go."""
        for _ in range(places):
            self._add_place()

    def _add_place(self) -> GrpcPlace:
        place = GrpcPlace(len(self._places) % len(self._channels))
        self._places.append(place)
        return place

    def open(self, seconds: float) -> None:
        """Connect everything, within ``seconds``. Raises ``OSError`` when the server cannot be reached."""
        self._target.reach(seconds)
        for channel in range(len(self._channels)):
            self._connect(channel)
        end = time.monotonic_ns() + int(seconds * SECOND)
        while any(c and c.state is not State.OPEN for c in self._channels) and time.monotonic_ns() < end:
            for fd, events in self._epoll.poll(0.05):
                if fd != self._control:
                    self._attend(fd, events)
        for channel, connection in enumerate(self._channels):
            if connection is None or connection.state is not State.OPEN:
                raise OSError(self._last_reason or f"channel {channel} went away, or does not speak HTTP/2")

    def drain(self) -> None:
        """Begin nothing new. What waits for a connection is forgotten, too: nothing of it was sent."""
        for waiting in self._waiting:
            for place in waiting:
                place.assigned = False
            waiting.clear()
        super().drain()

    # -- connections

    def _connect(self, channel: int) -> GrpcConnection | None:
        try:
            connection = GrpcConnection(
                self._target,
                self._blocks,
                self._blocks_read,
                self,
                self._epoll,
                first_stream=self._first_stream,
                waiting=self._waiting[channel],
            )
        except OSError as error:
            self._channels[channel] = None
            self._fail_waiting(channel, f"no connection to {self._name}: {describe(error)}")
            return None
        self._channels[channel] = self._connections[connection.fd] = connection
        return connection

    def _disconnect(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _attend(self, fd: int, events: int) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            return  # closed by an earlier event of the same batch
        state = connection.state
        try:
            connection.attend(events, self._buffer, time.monotonic_ns())
        except BrokenFrames as error:
            self._lose(connection, MALFORMED, f"{self._name} does not speak gRPC: {error}")
        except EOFError:
            self._lose(connection, LOST, f"{self._name} closed the connection")
        except OSError as error:
            if state is State.CONNECTING:
                self._lose(connection, UNREACHABLE, f"no connection to {self._name}: {describe(error)}")
            else:
                self._lose(connection, LOST, f"the connection to {self._name} was lost: {describe(error)}")
        else:
            self._close_if_retired(connection)

    def _lose(self, connection: GrpcConnection, status: int, reason: str) -> None:
        """The connection is no more: what was in flight on it fails, and what waited for it."""
        self._last_reason = reason
        self._drop(connection)
        for place in list(connection.streams.values()):
            place.connection = None
            self._fail(place, status, reason)
        if connection in self._channels:
            channel = self._channels.index(connection)
            self._channels[channel] = None
            self._fail_waiting(channel, reason, status)

    def _drop(self, connection: GrpcConnection) -> None:
        if connection.state is not State.CLOSED:
            del self._connections[connection.fd]
            connection.close()

    def _close_if_retired(self, connection: GrpcConnection) -> None:
        if connection.state is not State.RETIRING:
            return
        for place in [place for place in connection.streams.values() if not place.assigned]:
            self._abandon(place)  # a stream with nothing to do would keep the connection open
        if connection.idle:
            self._drop(connection)
        if connection in self._channels:
            channel = self._channels.index(connection)
            self._channels[channel] = None
            if self._waiting[channel]:
                self._connect(channel)

    def _fail_waiting(self, channel: int, reason: str, status: int = UNREACHABLE) -> None:
        waiting = self._waiting[channel]
        for _ in range(len(waiting)):
            self._fail(waiting.popleft(), status, reason)

    def on_open(self, connection: GrpcConnection) -> None:
        """Send what waited for the connection."""
        self._send_waiting(self._channels.index(connection))

    def _send_waiting(self, channel: int) -> None:
        waiting, connection = self._waiting[channel], self._channels[channel]
        while waiting and connection is not None and connection.has_room:
            self._send(waiting.popleft(), connection)

    # -- places

    def _free_place(self) -> Place | None:
        if self._free:
            return self._free.popleft() if isinstance(self._turns, Sequences) else self._free.pop()
        return self._add_place() if len(self._places) < self._most else None

    def _park(self, place: Place) -> None:
        assert isinstance(place, GrpcPlace)
        self._free.append(place)

    def _begin(self, place: Place) -> None:
        assert isinstance(place, GrpcPlace)
        place.resume = 0
        place.assigned = True
        place.sent, place.first = time.monotonic_ns(), 0
        place.received = 0
        if (kept := place.connection) is not None:
            if kept.state is State.OPEN and not place.unsent:
                self._send(place, kept)  # on the stream that it keeps
                return
            self._abandon(place)
            self._close_if_retired(kept)
        connection = self._channels[place.channel]
        if connection is None or connection.state in (State.RETIRING, State.CLOSED):
            self._waiting[place.channel].append(place)
            self._connect(place.channel)
        elif connection.has_room:
            self._send(place, connection)
        else:
            self._waiting[place.channel].append(place)

    def _send(self, place: GrpcPlace, connection: GrpcConnection) -> None:
        message = self._turns.next(place.turn)
        keeping = self._streaming or (self.answers is not None and self.answers.wanted())
        place.last = None
        if place.connection is None:
            place.connection = connection
            place.reader = MessageReader(wanted=keeping)
            connection.begin(place, ends=not self._streaming)
        connection.send(place, len(message).to_bytes(PREFIX, "big") + message)
        self._flush(connection)

    def _flush(self, connection: GrpcConnection) -> None:
        if connection is self._taking:
            return  # there may be more to send with it
        try:
            connection.flush()
        except OSError as error:
            self._lose(connection, LOST, f"the connection to {self._name} was lost while sending: {describe(error)}")

    def _abandon(self, place: Place) -> None:
        """End the place's stream; others on the connection go on."""
        assert isinstance(place, GrpcPlace)
        connection, place.connection = place.connection, None
        if connection is not None:
            connection.forget(place, reset=True)
            self._flush(connection)
        elif place in self._waiting[place.channel]:
            self._waiting[place.channel].remove(place)
            waited_for = self._channels[place.channel]
            if waited_for is not None and waited_for.state in (State.CONNECTING, State.SETTLING):
                # All the time that a request has was not enough for it; another may be luckier.
                self._drop(waited_for)
                self._channels[place.channel] = None
                if self._waiting[place.channel]:
                    self._connect(place.channel)

    @abc.abstractmethod
    def on_headers(self, place: GrpcPlace, block: Block, ended: bool, at: int) -> None:
        """Take a header block: an answer's beginning, or its end."""

    @abc.abstractmethod
    def on_data(self, place: GrpcPlace, data: bytes, ended: bool, at: int) -> None:
        """Take a piece of the messages."""

    @abc.abstractmethod
    def on_reset(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server gave up a stream."""

    @abc.abstractmethod
    def on_refused(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server goes away before it has looked at a request."""
