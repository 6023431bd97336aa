"""One HTTP/2 connection of a gRPC load: its streams, its windows, and every frame that is not the usual answer.

Standard library and ``hpack`` only: this runs in the worker. It knows nothing of places or records; what happens to a
stream it tells its ``Listener``.
"""

from __future__ import annotations

import enum
import select
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from pytest_triton.load import http2
from pytest_triton.load.connection import BOTH, Socket, Target
from pytest_triton.load.grpc_answer import PREFIX, Block, BlockReader
from pytest_triton.load.http2 import BrokenFrames, Frame

_REFILL = 1 << 30
"""The connection's and a long stream's window is opened again after so many bytes."""
_WHOLE = http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW


class State(enum.Enum):
    CONNECTING = enum.auto()
    SETTLING = enum.auto()
    """Connected; the peer's settings have not come."""
    OPEN = enum.auto()
    RETIRING = enum.auto()
    """The peer, or the end of stream ids, forbids new streams; those that are open go on."""
    CLOSED = enum.auto()


class Stream(Protocol):
    """What a connection needs to know of a stream."""

    stream: bytes
    unsent: memoryview
    """What of its message waits for room in a window."""
    window: int
    """Bytes that the peer takes on this stream."""
    ends: bool
    """Whether the stream ends with what is sent now."""
    taken: int
    """Bytes that came on it since its window was opened."""


class Listener(Protocol):
    """Whom a connection tells what happens."""

    def on_open(self, connection: GrpcConnection) -> None:
        """Streams may begin, or more than before."""

    def on_headers(self, stream: Any, block: Block, ended: bool, at: int) -> None:
        """A header block came for a stream, at this time."""

    def on_data(self, stream: Any, data: bytes, ended: bool, at: int) -> None:
        """A piece of a stream's messages came, at this time."""

    def on_reset(self, stream: Any, code: int) -> None:
        """The peer ended a stream."""

    def on_refused(self, stream: Any, code: int) -> None:
        """The peer goes away and has not looked at a stream."""


class GrpcConnection:
    """A connection that sends requests on streams of their own, or one after the other on streams that stay.

    ``blocks`` are a request's header block: one that can be sent at any time and empties the peer's header table, one
    that fills it, and one that is made of indices into it.
    """

    __slots__ = (
        "_blocks", "_epoll", "_events", "_frames", "_headers", "_listener", "_out", "_pending", "_reader", "_refill",
        "block", "fd", "largest_frame", "most_streams", "next_stream", "receive_into", "rest", "socket", "state",
        "stream_window", "streams", "waiting", "window",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        blocks: tuple[bytes, bytes, bytes],
        reader: BlockReader,
        listener: Listener,
        epoll: select.epoll,
        *,
        first_stream: int,
        waiting: Sequence[object],
    ) -> None:
        """Begin to connect. Raises ``OSError`` when that is refused at once.

        ``waiting`` is looked at, and never changed, to see whether anyone waits for room on it.
        """
        self.waiting = waiting
        self._blocks, self._reader, self._listener, self._epoll = blocks, reader, listener, epoll
        self.state = State.CONNECTING
        self.streams: dict[bytes, Any] = {}
        self.rest = b""
        """The beginning of a frame of which not all has come."""
        self.next_stream = first_stream
        self.window = http2.DEFAULT_WINDOW
        self.stream_window = http2.DEFAULT_WINDOW
        self.largest_frame = http2.DEFAULT_FRAME
        self.most_streams = http2.LAST_STREAM
        self.block = b""
        """The header block for the next request, once the first has been sent."""
        self._frames: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        self._headers: tuple[bytes, int, bytearray] | None = None
        """Stream, flags and so far the contents of a header block that goes on in the next frame."""
        self._out: list[bytes | memoryview] = []
        self._pending: deque[Any] = deque()
        """Streams whose message waits for room in the connection's window or their own."""
        self._refill = 0
        self.socket = Socket(target)
        self.fd = self.socket.fd
        self.receive_into = self.socket.recv_into
        self._events = BOTH
        epoll.register(self.fd, BOTH)

    def attend(self, events: int, buffer: bytearray, now: int) -> None:
        """Go on after epoll's ``events``. Raises ``OSError``, ``EOFError``, ``BrokenFrames`` when it is no more."""
        if self.state is State.CONNECTING:
            wanted = self.socket.connect_on(events)
            if wanted:
                self._watch(wanted)
                return
            self.receive_into = self.socket.recv_into
            self.state = State.SETTLING
            ours = {http2.TABLE_SIZE: 0, http2.ENABLE_PUSH: 0, http2.INITIAL_WINDOW: http2.LARGEST_WINDOW}
            self._out += [http2.PREFACE, http2.settings({**ours, http2.MAX_FRAME: http2.FRAME_LIMIT})]
            self._out.append(http2.window_update(http2.CONNECTION, _WHOLE))
            self._watch(select.EPOLLIN)
            self.flush()
            return
        if events & select.EPOLLOUT:
            self.flush()
        if events & ~select.EPOLLOUT:
            try:
                size = self.receive_into(buffer)
            except BlockingIOError:
                return
            if not size:
                raise EOFError
            data = self.rest + memoryview(buffer)[:size]
            at = 0
            while (end := self.take_frame(data, at, now)) >= 0 and self.state is not State.CLOSED:
                at = end
            self.rest = data[at:]
            self.flush()

    def take_frame(self, data: bytes, at: int, now: int) -> int:
        """Attend to the frame that begins at ``at``; return where it ends, -1 when it is not all there.

        Raises ``BrokenFrames``.
        """
        read = http2.read_frame(data, at)
        if read is None:
            return -1
        frame, end = read
        if self._headers is not None and (frame.kind != http2.CONTINUATION or frame.stream != self._headers[0]):
            raise BrokenFrames("a header block that does not go on")
        if self.state is State.SETTLING and frame.kind != http2.SETTINGS:
            raise BrokenFrames(f"no settings to begin with: {repr(data[at : at + 40])[1:]}")
        if frame.kind == http2.DATA:
            self._take_data(frame, end - at - http2.HEADER_SIZE, now)
        elif frame.kind == http2.HEADERS:
            self._headers = frame.stream, frame.flags, bytearray(frame.payload)
            self._end_headers(frame.flags, now)
        elif frame.kind == http2.CONTINUATION:
            if self._headers is None:
                raise BrokenFrames("a header block that goes on and never began")
            self._headers[2].extend(frame.payload)
            if len(self._headers[2]) > http2.FRAME_LIMIT:
                raise BrokenFrames(f"no end of a header block after {len(self._headers[2])} bytes")
            self._end_headers(frame.flags, now)
        else:
            self._take_other(frame)
        return end

    def _take_data(self, frame: Frame, size: int, now: int) -> None:
        if frame.stream == http2.CONNECTION:
            raise BrokenFrames("data on no stream")
        self.count(size)
        stream = self.streams.get(frame.stream)
        if stream is not None:
            stream.taken += size
            if stream.taken >= _REFILL:
                self._out.append(http2.window_update(frame.stream, stream.taken))
                stream.taken = 0
            self._listener.on_data(stream, frame.payload, bool(frame.flags & http2.END_STREAM), now)

    def count(self, size: int) -> None:
        """Take note of so many bytes of data: the peer may send as many more."""
        self._refill += size
        if self._refill >= _REFILL:
            self._out.append(http2.window_update(http2.CONNECTION, self._refill))
            self._refill = 0

    def _end_headers(self, flags: int, now: int) -> None:
        if not flags & http2.END_HEADERS:
            return
        assert self._headers is not None
        id, first_flags, block = self._headers
        self._headers = None
        if id == http2.CONNECTION:
            raise BrokenFrames("headers on no stream")
        meaning = self._reader.read(bytes(block))
        stream = self.streams.get(id)
        if stream is not None:
            self._listener.on_headers(stream, meaning, bool(first_flags & http2.END_STREAM), now)

    def _take_other(self, frame: Frame) -> None:
        if frame.kind == http2.SETTINGS:
            self._take_settings(frame)
        elif frame.kind == http2.WINDOW_UPDATE:
            self._widen(frame.stream, http2.read_number(frame.payload, "a window update") & http2.LARGEST_WINDOW)
        elif frame.kind == http2.PING:
            if len(frame.payload) != 8:
                raise BrokenFrames(f"a ping of {len(frame.payload)} bytes")
            if not frame.flags & http2.ACK:
                self._out.append(http2.frame(http2.PING, http2.ACK, http2.CONNECTION, frame.payload))
        elif frame.kind == http2.RST_STREAM:
            code = http2.read_number(frame.payload, "a reset")
            stream = self.streams.get(frame.stream)
            if stream is not None:
                self._listener.on_reset(stream, code)
        elif frame.kind == http2.GOAWAY:
            self._retire(frame.payload)
        elif frame.kind == http2.PUSH_PROMISE:
            raise BrokenFrames("a push, which was not asked for")

    def _take_settings(self, frame: Frame) -> None:
        if frame.flags & http2.ACK:
            return
        values = http2.read_settings(frame.payload)
        self._out.append(http2.frame(http2.SETTINGS, http2.ACK, http2.CONNECTION))
        self.largest_frame = values.get(http2.MAX_FRAME, self.largest_frame)
        self.most_streams = values.get(http2.MAX_STREAMS, self.most_streams)
        if http2.INITIAL_WINDOW in values:
            for stream in self.streams.values():
                stream.window += values[http2.INITIAL_WINDOW] - self.stream_window
            self.stream_window = values[http2.INITIAL_WINDOW]
        if http2.TABLE_SIZE in values:
            # A peer that keeps no header table is told everything anew each time; a table of another size is a new one.
            plain = values[http2.TABLE_SIZE] < http2.DEFAULT_TABLE
            self.block = self._blocks[0] if plain else b""
            self._frames.clear()
        if self.state is State.SETTLING:
            self.state = State.OPEN
        if self.state is State.OPEN:
            self._listener.on_open(self)
        self._pump()

    def widen(self, by: int) -> None:
        """Take note of more room in the connection's window. Raises ``BrokenFrames``."""
        self.window += by
        if self.window > http2.LARGEST_WINDOW:
            raise BrokenFrames("a window of more than 2^31 - 1 bytes")
        if self._pending:
            self._pump()

    def _widen(self, id: bytes, by: int) -> None:
        if id == http2.CONNECTION:
            self.widen(by)
        elif (stream := self.streams.get(id)) is not None:
            stream.window += by
        if self._pending:
            self._pump()

    def _retire(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise BrokenFrames(f"a goodbye of {len(payload)} bytes")
        last, code = int.from_bytes(payload[:4], "big") & http2.LAST_STREAM, int.from_bytes(payload[4:8], "big")
        self.state = State.RETIRING
        for id, stream in list(self.streams.items()):
            if int.from_bytes(id, "big") > last:
                self._listener.on_refused(stream, code)

    @property
    def has_room(self) -> bool:
        """Whether another stream may begin."""
        return self.state is State.OPEN and len(self.streams) < self.most_streams

    def begin(self, stream: Stream, *, ends: bool) -> None:
        """Open a stream for ``stream`` and put its headers into what ``flush`` will send."""
        id = self.next_stream
        self.next_stream += 2
        if self.next_stream > http2.LAST_STREAM:
            self.state = State.RETIRING
        stream.stream = id.to_bytes(4, "big")
        stream.window, stream.ends, stream.taken = self.stream_window, ends, 0
        self.streams[stream.stream] = stream
        block = self.block
        if not block:
            # The second request is the first that finds its headers in the peer's table.
            block, self.block = self._blocks[1], self._blocks[2]
        self._out.append(http2.frame(http2.HEADERS, http2.END_HEADERS, stream.stream, block))

    def send(self, stream: Stream, message: bytes) -> None:
        """Put a message, its prefix included, into what ``flush`` will send, as far as the windows have room."""
        stream.unsent = memoryview(message)
        self._pending.append(stream)
        self._pump()

    def frames_of(self, payload: bytes) -> tuple[bytes, bytes, bytes]:
        """Return a whole request as what stands before, between and behind its stream id, which it needs twice."""
        frames = self._frames.get(payload)
        if frames is None:
            message = len(payload).to_bytes(PREFIX, "big") + payload
            start = http2.frame_start(http2.DATA, http2.END_STREAM, len(message))
            begin = http2.frame_start(http2.HEADERS, http2.END_HEADERS, len(self.block))
            frames = self._frames[payload] = (begin, self.block + start, message)
        return frames

    def queue(self, pieces: list[bytes]) -> None:
        """Put whole frames into what ``flush`` will send."""
        self._out += pieces

    def _pump(self) -> None:
        """Move what waits into what will be sent, as far as the windows have room."""
        for _ in range(len(self._pending)):
            stream = self._pending.popleft()
            while stream.unsent and (room := min(self.window, stream.window, self.largest_frame)) > 0:
                piece, stream.unsent = stream.unsent[:room], stream.unsent[room:]
                flags = http2.END_STREAM if stream.ends and not stream.unsent else 0
                self._out += (http2.frame_start(http2.DATA, flags, len(piece)) + stream.stream, piece)
                self.window -= len(piece)
                stream.window -= len(piece)
            if stream.unsent:
                self._pending.append(stream)

    def forget(self, stream: Stream, *, reset: bool) -> None:
        """Take note that a stream has ended, or end it."""
        if self.streams.pop(stream.stream, None) is None:
            return
        if stream.unsent:
            stream.unsent = memoryview(b"")
            self._pending.remove(stream)
        if reset:
            self._out.append(http2.reset(stream.stream))

    def flush(self) -> None:
        """Write what is to be sent, as far as the socket takes it. Raises ``OSError``."""
        if not self._out or self.state in (State.CONNECTING, State.CLOSED):
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            gone = self.socket.send(data)
        except BlockingIOError:
            gone = 0
        if gone == len(data):
            self._out.clear()
            self._watch(select.EPOLLIN)
        else:
            self._out[:] = [memoryview(data)[gone:]]
            self._watch(BOTH)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way on it, nor on its way out."""
        return not self.streams and not self._out

    def close(self) -> None:
        """Close it; its streams are the caller's to look after."""
        self.state = State.CLOSED
        self.socket.close()

    def _watch(self, events: int) -> None:
        if self._events != events:
            self._events = events
            self._epoll.modify(self.fd, events)
