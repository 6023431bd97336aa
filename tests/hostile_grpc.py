"""The server's end of an HTTP/2 connection, by hand: it reads requests as gRPC sends them, and answers as told."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hostile import Behave
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from tritonclient.grpc import service_pb2

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 3, 4, 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

MESSAGE: bytes = service_pb2.ModelInferResponse(model_name="m", model_version="1").SerializeToString()


def block(**fields: object) -> bytes:
    """A header block that stands alone; ``_`` stands for ``-``, and ``status`` for HTTP's."""
    named = {":status" if name == "status" else name.replace("_", "-"): str(value) for name, value in fields.items()}
    return bytes(Encoder().encode([NeverIndexedHeaderTuple(*item) for item in named.items()]))


HEAD = block(status=200, content_type="application/grpc")
TAIL = block(grpc_status=0)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def message(content: bytes = MESSAGE, *, flag: int = 0, length: int | None = None) -> bytes:
    """A message with its prefix, which may lie."""
    return bytes((flag,)) + (len(content) if length is None else length).to_bytes(4, "big") + content


def good(stream: int, content: bytes = MESSAGE) -> bytes:
    """The frames of the usual answer."""
    return (
        frame(HEADERS, END_HEADERS, stream, HEAD)
        + frame(DATA, 0, stream, message(content))
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, TAIL)
    )


def only_trailers(stream: int, **fields: object) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block(status=200, **fields))


def head(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, HEAD)


def tail(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, TAIL)


def data(stream: int, payload: bytes | None = None, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, message() if payload is None else payload)


def in_frames(stream: int, size: int) -> bytes:
    """A message over frames of so many bytes."""
    whole = message()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    return head(stream) + b"".join(data(stream, piece) for piece in pieces) + tail(stream)


def continued(stream: int) -> bytes:
    """Header blocks over several frames."""
    return b"".join(
        (
            frame(HEADERS, 0, stream, HEAD[:3]),
            frame(CONTINUATION, 0, stream, b""),
            frame(CONTINUATION, END_HEADERS, stream, HEAD[3:]),
            data(stream),
            frame(HEADERS, END_STREAM, stream, b""),
            frame(CONTINUATION, END_HEADERS, stream, TAIL),
        )
    )


def padded(stream: int) -> bytes:
    urgent = b"\x80\0\0\1\xff"
    return (
        frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, stream, b"\3" + urgent + HEAD + b"\0\0\0")
        + frame(DATA, PADDED, stream, b"\xff" + message() + bytes(255))
        + frame(DATA, PADDED, stream, b"\0")
        + frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, stream, urgent + TAIL)
    )


def streamed(*, error: str = "", final: bool | None = None, empty: bool = False) -> bytes:
    """A ``ModelStreamInferResponse``."""
    response = service_pb2.ModelStreamInferResponse(error_message=error)
    if not error:
        response.infer_response.model_name = "m"
        if final is not None:
            response.infer_response.parameters["triton_final_response"].bool_param = final
        if not empty:
            response.infer_response.outputs.add(name="OUT", datatype="FP32", shape=[1])
            response.infer_response.raw_output_contents.append(b"\0\0\0\0")
    content: bytes = response.SerializeToString()
    return content


def one_response(stream: int) -> bytes:
    """The only response to a streamed request."""
    return data(stream, message(streamed()))


class Asked(NamedTuple):
    """A request: the stream it came on, and its message."""

    stream: int
    content: bytes

    @property
    def parameters(self) -> dict[str, Any]:
        sent = service_pb2.ModelInferRequest.FromString(self.content).parameters
        return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in sent.items()}


class Peer:
    """A connection: what came on it, and what may be sent.

    It keeps the client to the rules: new streams have higher ids, header blocks decode with a table of the size that
    was announced, data fits the windows. What breaks them is in ``wrongs``.
    """

    def __init__(self, connection: socket.socket, wrongs: list[str], settings: Mapping[int, int]) -> None:
        self._connection = connection
        self._wrongs = wrongs
        self._rest = b""
        self._decoder = Decoder()
        self.last = 0
        self._messages: dict[int, bytearray] = {}
        self._blocks: dict[int, bytes] = {}
        self._settings: list[Mapping[int, int]] = []
        self.stream_windows: dict[int, int] = {}
        self.initial = self.window = 65535
        self.given = Counter[int]()
        """Room that the client gave by window updates, by stream."""
        self.largest = 16384
        self.most = 1 << 31
        self.resets: list[int] = []
        self.acks = 0
        self.pongs: list[bytes] = []
        if self._read(len(PREFACE)) != PREFACE:
            wrongs.append("no preface")
        self.settle(settings)

    def settle(self, settings: Mapping[int, int]) -> None:
        """Send settings; those that bind the client do so from its acknowledgement on."""
        self._settings.append(settings)
        self.send(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *item) for item in settings.items())))

    def widen(self, stream: int, by: int) -> None:
        """Give room in a window."""
        if stream:
            self.stream_windows[stream] += by
        else:
            self.window += by
        self.send(frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big")))

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def requests(self, count: int) -> list[Asked]:
        """Wait for so many requests."""
        return [self.request() for _ in range(count)]

    def request(self, *, refill: bool = False) -> Asked:
        """Wait for a whole message, and take note of everything that comes before. Raises ``OSError`` at the end.

        With ``refill`` the room that it takes is given back, frame by frame.
        """
        while True:
            for stream, held in self._messages.items():
                if len(held) >= 5 and len(held) >= 5 + int.from_bytes(held[1:5], "big"):
                    size = 5 + int.from_bytes(held[1:5], "big")
                    content = bytes(held[5:size])
                    del held[:size]
                    return Asked(stream, content)
            kind, _, stream, payload = self.take()
            if refill and kind == DATA and payload:
                self.widen(0, len(payload))
                self.widen(stream, len(payload))

    def take(self) -> tuple[int, int, int, bytes]:
        """Read one frame."""
        head = self._read(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = self._read(int.from_bytes(head[:3], "big"))
        if len(payload) > self.largest:
            self._wrongs.append(f"a frame of {len(payload)} bytes")
        if kind == SETTINGS and flags & ACK:
            self._bind()
        elif kind == SETTINGS:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == WINDOW_UPDATE:
            self.given[stream] += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self.resets.append(stream)
            self._messages.pop(stream, None)
            self.stream_windows.pop(stream, None)
        elif kind == HEADERS:
            self._open(stream, payload)
        elif kind == DATA:
            self._fill(stream, payload)
        return kind, flags, stream, payload

    def _bind(self) -> None:
        self.acks += 1
        settings = self._settings.pop(0) if self._settings else {}
        if TABLE_SIZE in settings:
            self._decoder.max_allowed_table_size = settings[TABLE_SIZE]
        if INITIAL_WINDOW in settings:
            for stream in self.stream_windows:
                self.stream_windows[stream] += settings[INITIAL_WINDOW] - self.initial
            self.initial = settings[INITIAL_WINDOW]
        self.largest = settings.get(MAX_FRAME, self.largest)
        self.most = settings.get(MAX_STREAMS, self.most)

    def _open(self, stream: int, payload: bytes) -> None:
        if stream <= self.last:
            self._wrongs.append(f"stream {stream} after {self.last}")
        self.last = stream
        headers = dict(self._decoder.decode(payload))
        if headers.get(":path") not in (
            "/inference.GRPCInferenceService/ModelInfer",
            "/inference.GRPCInferenceService/ModelStreamInfer",
        ):
            self._wrongs.append(f"headers {headers}")
        self._messages[stream] = bytearray()
        self.stream_windows[stream] = self.initial
        if len(self.stream_windows) > self.most:
            self._wrongs.append(f"{len(self.stream_windows)} streams where {self.most} may be")

    def _fill(self, stream: int, payload: bytes) -> None:
        if stream in self._messages:
            self._messages[stream] += payload
            self.stream_windows[stream] -= len(payload)
            if payload and self.stream_windows[stream] < 0:
                self._wrongs.append(f"stream {stream} sends more than its window")
        self.window -= len(payload)
        if payload and self.window < 0:
            self._wrongs.append("more than the connection's window")

    def end(self, stream: int) -> None:
        """Forget a stream that was answered."""
        self._messages.pop(stream, None)
        self.stream_windows.pop(stream, None)

    def wait_for_end(self) -> None:
        """Read on until the client closes the connection. Raises ``ConnectionError`` then."""
        while True:
            self.take()

    def answer(self, asked: Asked, data: bytes | None = None) -> None:
        """Answer a unary request, as usual or with ``data``, and make room for the next."""
        self.end(asked.stream)
        self.send(good(asked.stream) if data is None else data)
        if self.window < 32768:
            self.widen(0, 1 << 20)

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = self._connection.recv(max(65536, size - len(self._rest)))
            if not piece:
                raise ConnectionError
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


Play = Callable[[Peer, int], None]
"""What to do with a connection that speaks HTTP/2, and which one in turn it is."""


class Witness:
    """What servers saw: ``seen`` is counted by the plays."""

    def __init__(self) -> None:
        self.wrongs: list[str] = []
        self._lock = threading.Lock()
        self._seen = Counter[str]()
        self.asked: list[Asked] = []

    def saw(self, what: str, asked: Asked | None = None) -> None:
        with self._lock:
            self._seen[what] += 1
            if asked is not None:
                self.asked.append(asked)

    def __getitem__(self, what: str) -> int:
        return self._seen[what]

    def playing(self, play: Play, settings: Mapping[int, int] | None = None) -> Behave:
        """A connection that begins with these settings and goes on with ``play``."""

        def behave(connection: socket.socket, turn: int) -> None:
            try:
                play(Peer(connection, self.wrongs, settings or {}), turn)
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
                self.wrongs.append(repr(error))

        return behave
