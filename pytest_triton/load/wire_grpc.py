"""A load of gRPC requests: unary ones, many at a time on each connection, or streams that stay.

Standard library and ``hpack`` only: this runs in the worker. The usual answer to a unary request, headers, one message
and trailers in a row with header blocks seen before, costs two regular expressions, a dictionary look-up and the
appends; one system call reads and one sends as many of them as there are. Everything else takes the careful path of
``grpc_streams``.
"""

from __future__ import annotations

import time
from typing import Any

from pytest_triton.load import http2
from pytest_triton.load.answers import UNSEEN
from pytest_triton.load.connection import Target, describe
from pytest_triton.load.grpc_answer import PREFIX
from pytest_triton.load.grpc_channels import RECEIVE, GrpcPlace
from pytest_triton.load.grpc_connection import GrpcConnection, State
from pytest_triton.load.grpc_streams import GrpcStreams
from pytest_triton.load.grpc_usual import UsualAnswer
from pytest_triton.load.http2 import BrokenFrames
from pytest_triton.load.status import LOST, MALFORMED, OK
from pytest_triton.load.turns import Rotation

_WIDENING = http2.frame_start(http2.WINDOW_UPDATE, 0, 4) + http2.CONNECTION
_WIDENING_SIZE = len(_WIDENING) + 4


class GrpcLoad(GrpcStreams):
    """A load over gRPC."""

    def __init__(self, target: Target, **options: Any) -> None:
        super().__init__(target, **options)
        self._usual = UsualAnswer(self._blocks_read)
        self._largest = self._turns.largest + PREFIX
        self._simple = self._arrivals is None and isinstance(self._turns, Rotation) and self.answers is None
        """What goes out next depends neither on the time nor on the place, and no answer is looked at."""

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
            and connection.next_stream < http2.LAST_STREAM - RECEIVE
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
