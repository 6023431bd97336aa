"""A load of gRPC requests: unary ones, many at a time on each connection, or streams that stay.

Standard library and ``hpack`` only: this runs in the worker. The usual answer to a unary request, headers, one message
and trailers in a row with header blocks seen before, costs two regular expressions, a dictionary look-up and the
appends; one system call reads and one sends as many of them as there are. Everything else takes the careful path.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from pytest_triton.load import http2
from pytest_triton.load.answers import UNSEEN
from pytest_triton.load.connection import Target, describe
from pytest_triton.load.grpc_answer import PREFIX, Block, BlockReader, MessageReader, describe_status
from pytest_triton.load.grpc_connection import GrpcConnection, State
from pytest_triton.load.grpc_usual import UsualAnswer
from pytest_triton.load.http2 import BrokenFrames
from pytest_triton.load.loop import SECOND, Loop
from pytest_triton.load.place import Phase, Place
from pytest_triton.load.responses import read_response
from pytest_triton.load.status import LOST, MALFORMED, OK, UNREACHABLE
from pytest_triton.load.turns import Rotation, Sequences

_RECEIVE = 1 << 18
_GOOD = 200
_MOST = 4096
_WIDENING = http2.frame_start(http2.WINDOW_UPDATE, 0, 4) + http2.CONNECTION
_WIDENING_SIZE = len(_WIDENING) + 4
_UNKNOWN = 2
"""gRPC's code for an error without one, as those of a stream's single requests are."""


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


class GrpcLoad(Loop):
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
        self._buffer = bytearray(_RECEIVE)
        self._taking: GrpcConnection | None = None
        """The connection whose answers are being taken: what follows from them is sent in one go."""
        self._usual = UsualAnswer(self._blocks_read)
        self._largest = self._turns.largest + PREFIX
        self._simple = self._arrivals is None and isinstance(self._turns, Rotation) and self.answers is None
        """What goes out next depends neither on the time nor on the place, and no answer is looked at."""
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

    # -- what a connection says of a stream

    def on_headers(self, place: GrpcPlace, block: Block, ended: bool, at: int) -> None:
        """Take a header block: an answer's beginning, or its end."""
        if not self._streaming:
            place.first = place.first or at
        if 100 <= block.http_status < _GOOD and not ended:
            return  # the answer follows
        if block.http_status not in (0, _GOOD):
            self._fail(place, block.http_status, f"HTTP {block.http_status} instead of an answer over gRPC")
        elif ended or block.status > 0:
            self._finish(place, block, at)

    def on_data(self, place: GrpcPlace, data: bytes, ended: bool, at: int) -> None:
        """Take a piece of the messages."""
        if not self._streaming:
            place.first = place.first or at
        try:
            messages = place.reader.feed(data)
        except BrokenFrames as error:
            self._fail(place, MALFORMED, f"{self._name} sent no proper answer over gRPC: {error}")
            return
        connection, stream = place.connection, place.stream
        for message in messages:
            if self._streaming:
                self._take_response(place, message, at)
                if place.connection is not connection or place.stream != stream:
                    return  # the stream was given up, and what else came on it
            elif place.last is not None:
                self._fail(place, MALFORMED, f"{self._name} sent two answers to one request")
                return
            else:
                place.last = message
        if ended and place.connection is not None:
            self._fail(place, MALFORMED, f"{self._name} ended a stream without a status")

    def on_reset(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server gave up a stream."""
        self._leave(place)
        self._fail(place, LOST, f"{self._name} reset the stream: {http2.name_error(code)}")

    def on_refused(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server goes away before it has looked at a request."""
        self._leave(place)
        self._fail(place, LOST, f"{self._name} went away before it took the request: {http2.name_error(code)}")

    def _fail(self, place: Place, status: int, reason: str, *, keep: bool = False) -> None:
        """Fail the place's request; a stream that had nothing to do is only left: the next request opens another."""
        if place.assigned:
            super()._fail(place, status, reason, keep=keep)
        elif not keep:
            self._abandon(place)

    def _leave(self, place: GrpcPlace) -> None:
        """The stream has ended: nothing more is to be said on it."""
        connection, place.connection = place.connection, None
        if connection is not None:
            connection.forget(place, reset=bool(place.unsent) or self._streaming)
            if self._waiting[place.channel]:
                self._send_waiting(place.channel)

    def _finish(self, place: GrpcPlace, block: Block, now: int) -> None:
        """A stream ended with a status."""
        message, received = place.last, place.reader.received
        self._leave(place)
        if block.status > 0:
            self._fail(place, block.status, describe_status(block), keep=True)
        elif block.status < 0:
            self._fail(place, MALFORMED, f"{self._name} ended a stream without a status", keep=True)
        elif self._streaming:
            self._fail(place, LOST, f"{self._name} ended the stream before the last response", keep=True)
        elif message is None or not received or place.reader.in_message:
            self._fail(place, MALFORMED, f"{self._name} answered OK with an empty or broken message", keep=True)
        else:
            answer = UNSEEN
            if self.answers is not None and place.reader.wanted:
                answer = self.answers.number(place.turn.request, message)
            self._succeed(place, now, received, answer)

    def _succeed(self, place: GrpcPlace, now: int, received: int, answer: int) -> None:
        place.failures = 0
        self.received += received
        self._end(place, OK, now, answer)
        self._go_on(place, now)

    def _take_response(self, place: GrpcPlace, message: bytes, now: int) -> None:
        """Take one response of a stream; a request ends with the one that says it is the last."""
        if not place.assigned:
            return  # nobody waits for it any more
        if place.sent > now:
            self._fail(place, MALFORMED, f"{self._name} sent a response before the request")
            return
        try:
            response = read_response(message)
        except ValueError as error:
            self._fail(place, MALFORMED, f"{self._name} sent no proper response: {error}")
            return
        if not (response.error or response.content):
            self._fail(place, MALFORMED, f"{self._name} sent an empty response")
            return
        place.received += len(message)
        if response.error:
            self._fail(place, _UNKNOWN, f"gRPC stream: {response.error[:500]}")
            return
        if not response.empty:
            place.first = place.first or now
            place.responses.append(now)
            if self.answers is not None and len(place.responses) == 1:
                place.last = response.content
        if response.final:
            answer = UNSEEN
            if self.answers is not None and place.last is not None and self.answers.wanted():
                answer = self.answers.number(place.turn.request, place.last)
            self._succeed(place, now, place.received, answer)

    # -- the quick path

    def _serve(self, events: list[tuple[int, int]]) -> int:
        ready = 0
        for fd, event in events:
            connection = self._connections.get(fd)
            if connection is None:
                if fd == self._control:
                    ready = event
            elif self._streaming or connection.state is not State.OPEN or event & ~1:
                self._attend(fd, event)
            else:
                self._receive(connection)
        return ready

    def _receive(self, connection: GrpcConnection) -> None:
        """Take all that can be read from a connection, and send what follows from it."""
        try:
            size = connection.receive_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, LOST, f"the connection to {self._name} was lost while receiving: {describe(error)}")
            return
        if not size:
            self._lose(connection, LOST, f"{self._name} closed the connection")
            return
        now = time.monotonic_ns()
        data = connection.rest + memoryview(self._buffer)[:size]
        self._taking = connection
        try:
            self._take_answers(connection, data, now)
        except BrokenFrames as error:
            self._lose(connection, MALFORMED, f"{self._name} does not speak gRPC: {error}")
            return
        finally:
            self._taking = None
        if connection.state is not State.CLOSED:
            self._flush(connection)
            self._close_if_retired(connection)

    def _take_answers(self, connection: GrpcConnection, data: bytes, now: int) -> None:
        usual, streams = self._usual, connection.streams
        records = self.records
        add_sent, add_first = records.sent.append, records.first.append
        add_done, add_status = records.done.append, records.status.append
        add_request = records.request.append if records.request is not None else None
        started: list[GrpcPlace] = []
        out: list[bytes] = []
        quick = self._is_quick(connection)
        received = answers = at = 0
        end = len(data)
        try:
            while at < end:
                if data.startswith(_WIDENING, at) and end - at >= _WIDENING_SIZE:
                    # One follows nearly every answer: the room that the request took in the connection's window.
                    connection.widen(int.from_bytes(data[at + _WIDENING_SIZE - 4 : at + _WIDENING_SIZE], "big"))
                    at += _WIDENING_SIZE
                    continue
                found = usual.match(data, at)
                place: GrpcPlace | None = streams.get(found[0]) if found is not None else None
                if found is None or place is None or place.first:
                    # What the quick path has begun goes out before anything else is done.
                    self._send_quick(connection, out, started)
                    after = connection.take_frame(data, at, now)
                    if after < 0 or connection.state is State.CLOSED:
                        break
                    usual.learn(data, at, after)
                    at = after
                    quick = self._is_quick(connection)
                    continue
                id, body, body_end, at = found
                received += body_end - body
                answers += 1
                if not quick or place.reader.wanted or place.unsent:
                    self._send_quick(connection, out, started)
                    self._take_whole(connection, place, data[body:body_end] if place.reader.wanted else b"", now)
                    quick = self._is_quick(connection)
                    continue
                del streams[id]
                add_sent(place.sent)
                add_first(now)
                add_done(now)
                add_status(OK)
                if add_request is not None:
                    add_request(place.turn.request)
                place.failures = 0
                payload, place.turn.request = self._turns.take()  # type: ignore[union-attr]
                begin, middle, message = connection.frames_of(payload)
                number = connection.next_stream
                connection.next_stream = number + 2
                connection.window -= len(message)
                place.stream = id = number.to_bytes(4, "big")
                streams[id] = place
                out += (begin, id, middle, id, message)
                started.append(place)
                quick = connection.window > self._largest
        finally:
            self.received += received
            connection.count(received + answers * PREFIX)
        connection.rest = data[at:]
        self._send_quick(connection, out, started)

    def _is_quick(self, connection: GrpcConnection) -> bool:
        """Say whether the next request may go out as soon as an answer has come, with nothing else to look after."""
        return (
            self._sending
            and self._simple
            and connection.state is State.OPEN
            and bool(connection.block)
            and connection.next_stream < http2.LAST_STREAM - _RECEIVE
            and len(connection.streams) <= connection.most_streams
            and self._largest <= min(connection.window, connection.stream_window, connection.largest_frame)
            and not connection.waiting
        )

    def _send_quick(self, connection: GrpcConnection, out: list[bytes], started: list[GrpcPlace]) -> None:
        if started:
            now = time.monotonic_ns()
            for place in started:
                place.sent = now
            connection.queue(out)
            started.clear()
            out.clear()

    def _take_whole(self, connection: GrpcConnection, place: GrpcPlace, message: bytes, now: int) -> None:
        """Take a usual answer where more is to be done than to send the next request."""
        answer = UNSEEN
        if place.reader.wanted and self.answers is not None:
            answer = self.answers.number(place.turn.request, message)
        self._leave(place)
        self._succeed(place, now, 0, answer)
