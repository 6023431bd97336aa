"""HTTP/2 frames: their bytes, and what a client must hold on to of the peer's settings. Standard library only.

RFC 9113, sections 4 and 6, as far as a client of gRPC needs it; the worker imports this.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
CONNECTION = b"\0\0\0\0"
"""The stream id of frames that concern the whole connection."""

LARGEST_WINDOW = (1 << 31) - 1
LAST_STREAM = (1 << 31) - 1
FRAME_LIMIT = 1 << 18
"""The largest frame that we let the peer send, in bytes."""
DEFAULT_WINDOW = 65535
DEFAULT_FRAME = 16384
DEFAULT_TABLE = 4096

_SETTING = struct.Struct(">HI")
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5

NO_ERROR, CANCEL = 0x0, 0x8
ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


class BrokenFrames(Exception):
    """The bytes are not HTTP/2, or break its rules."""


class Frame(NamedTuple):
    """A frame; ``stream`` is its stream id as it is on the wire, ``payload`` is free of padding and priority."""

    kind: int
    flags: int
    stream: bytes
    payload: bytes


def read_frame(data: bytes, at: int) -> tuple[Frame, int] | None:
    """Return the frame that begins at ``at``, and where it ends; None when it is not all there.

    Raises ``BrokenFrames`` as soon as its header shows that it cannot be one.
    """
    begin = at + HEADER_SIZE
    if len(data) < begin:
        return None
    length = int.from_bytes(data[at : at + 3], "big")
    kind, flags = data[at + 3], data[at + 4]
    if length > FRAME_LIMIT:
        shown = repr(data[at : at + 40])[1:]
        raise BrokenFrames(f"a frame of {length} bytes, more than was allowed: {shown}")
    end = begin + length
    if len(data) < end:
        return None
    stream = bytes((data[at + 5] & 0x7F,)) + data[at + 6 : begin]
    payload = data[begin:end]
    if flags & (PADDED | WITH_PRIORITY) and kind in (DATA, HEADERS):
        payload = _bare(kind, flags, payload)
    return Frame(kind, flags, stream, payload), end


def _bare(kind: int, flags: int, payload: bytes) -> bytes:
    """Take padding and priority off."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise BrokenFrames("a padded frame without the length of its padding")
        begin, end = 1, end - payload[0]
    if kind == HEADERS and flags & WITH_PRIORITY:
        begin += 5
    if begin > end:
        raise BrokenFrames("more padding than frame")
    return payload[begin:end]


def frame(kind: int, flags: int, stream: bytes, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return frame_start(kind, flags, len(payload)) + stream + payload


def frame_start(kind: int, flags: int, length: int) -> bytes:
    """Return the five bytes before a frame's stream id."""
    return length.to_bytes(3, "big") + bytes((kind, flags))


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, CONNECTION, b"".join(_SETTING.pack(*item) for item in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """Read a SETTINGS frame. Raises ``BrokenFrames`` for one that is none, or says what may not be said."""
    if len(payload) % _SETTING.size:
        raise BrokenFrames(f"settings of {len(payload)} bytes")
    values: dict[int, int] = dict(_SETTING.iter_unpack(payload))
    if values.get(INITIAL_WINDOW, 0) > LARGEST_WINDOW:
        raise BrokenFrames("a window of more than 2^31 - 1 bytes")
    if not DEFAULT_FRAME <= values.get(MAX_FRAME, DEFAULT_FRAME) < 1 << 24:
        raise BrokenFrames(f"a largest frame of {values[MAX_FRAME]} bytes")
    return values


def window_update(stream: bytes, by: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def read_number(payload: bytes, what: str) -> int:
    """Read the payload of a frame that is one 32-bit number. Raises ``BrokenFrames``."""
    if len(payload) != 4:
        raise BrokenFrames(f"{what} of {len(payload)} bytes")
    return int.from_bytes(payload, "big")


def reset(stream: bytes, code: int = CANCEL) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def name_error(code: int) -> str:
    """Name an error code."""
    return ERRORS[code] if code < len(ERRORS) else f"error {code}"
