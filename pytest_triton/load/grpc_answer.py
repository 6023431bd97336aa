"""gRPC's answer on a stream: header blocks, length-prefixed messages, the status. Standard library and ``hpack`` only.

Wire format: gRPC's "gRPC over HTTP2". With a header table of no size every header block stands alone, so that what its
bytes mean is looked up, and decoded only where they were not seen before.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from pytest_triton.load.http2 import BrokenFrames

CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_NUMBERS = {b"%d" % number: number for number in range(len(CODES))}
_UNKNOWN = 2
_HTTP_STATUS = re.compile(rb"[1-9]\d\d")
_REMEMBERED = 256
_LONGEST_BLOCK = 65536
PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""


class Block(NamedTuple):
    """What a header block says: HTTP's status (0 when it says none), gRPC's (-1 when it says none), and its message.

    A status that gRPC does not know is ``UNKNOWN``, as gRPC has it.
    """

    http_status: int
    status: int
    message: str


class BlockReader:
    """Reads header blocks and remembers what their bytes mean."""

    def __init__(self) -> None:
        from hpack import Decoder

        self._new_decoder = Decoder
        self._seen: dict[bytes, Block] = {}

    def read(self, block: bytes) -> Block:
        """Say what a header block says. Raises ``BrokenFrames`` when it is none."""
        found = self._seen.get(block)
        if found is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            found = self._seen[block] = self._decode(block)
        return found

    def _decode(self, block: bytes) -> Block:
        from hpack import HPACKError

        if len(block) > _LONGEST_BLOCK:
            raise BrokenFrames(f"a header block of {len(block)} bytes")
        decoder: Any = self._new_decoder()
        decoder.max_allowed_table_size = decoder.header_table_size = 0
        try:
            headers = dict(decoder.decode(block, raw=True))
        except HPACKError as error:
            raise BrokenFrames(f"a header block that cannot be decoded: {error}") from error
        http_status, status = headers.get(b":status"), headers.get(b"grpc-status")
        if http_status is not None and not _HTTP_STATUS.fullmatch(http_status):
            raise BrokenFrames(f"no status of HTTP: {http_status[:20]!r}")
        message = unquote(headers.get(b"grpc-message", b"").decode("utf-8", "replace"))
        return Block(int(http_status or 0), -1 if status is None else _NUMBERS.get(status, _UNKNOWN), message)


def describe_status(block: Block) -> str:
    """Say what a status other than OK says."""
    text = block.message.strip()[:500]
    said = f"gRPC {block.status} ({CODES[block.status]})"
    return f"{said}: {text}" if text else said


class MessageReader:
    """Puts the messages of a stream together from the pieces in which they arrive.

    Where a message is not ``wanted`` it is only counted. ``received`` is the bytes of all messages so far.
    """

    __slots__ = ("_kept", "_left", "_prefix", "received", "wanted")

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.received = 0
        self._prefix = b""
        self._left = -1
        """Bytes of the message still to come; -1 while its prefix is not all there."""
        self._kept = bytearray()

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._left >= 0 or bool(self._prefix)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that end in ``data``; empty ones where they are only counted. Raises ``BrokenFrames``."""
        at, ended = 0, list[bytes]()
        while True:
            if self._left < 0:
                missing = PREFIX - len(self._prefix)
                self._prefix += data[at : at + missing]
                at = min(at + missing, len(data))
                if len(self._prefix) < PREFIX:
                    return ended
                if self._prefix[0]:
                    raise BrokenFrames("a compressed message, which was not asked for")
                self._left, self._prefix = int.from_bytes(self._prefix[1:], "big"), b""
            taken = min(self._left, len(data) - at)
            if self.wanted:
                self._kept += memoryview(data)[at : at + taken]
            self.received += taken
            self._left -= taken
            at += taken
            if self._left:
                return ended
            self._left = -1
            ended.append(bytes(self._kept))
            self._kept.clear()
