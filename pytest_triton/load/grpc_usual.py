"""The answer that nearly always comes to a unary gRPC request, recognised at a glance. Standard library only.

Headers, one message, trailers, in a row, with header blocks whose meaning is known: all that differs from the last such
answer is the stream id, which stands there three times, and the message.
"""

from __future__ import annotations

import re

from pytest_triton.load import http2
from pytest_triton.load.grpc_answer import PREFIX, BlockReader

_ID = rb"([\x00-\x7f][\s\S]{3})"
_SAME_ID = rb"\1"
_LENGTH = rb"([\s\S]{3})"
_SIZE = rb"([\s\S]{4})"
_ENDS = http2.END_HEADERS | http2.END_STREAM
_GOOD = 200


class UsualAnswer:
    """Knows the last good answer's header blocks."""

    __slots__ = ("_blocks", "_head", "_seen", "_tail")

    def __init__(self, blocks: BlockReader) -> None:
        self._blocks = blocks
        self._head: re.Pattern[bytes] | None = None
        self._tail: re.Pattern[bytes] | None = None
        self._seen: list[tuple[int, int, bytes, bytes]] = []
        """Kind, flags, stream and payload of the last frames in a row that may be the usual answer's."""

    def match(self, data: bytes, at: int) -> tuple[bytes, int, int, int] | None:
        """Return the stream id, where the message begins and ends, and where the answer ends, if one is at ``at``.

        An empty message is not usual.
        """
        if self._head is None or self._tail is None:
            return None
        begins = self._head.match(data, at)
        if begins is None:
            return None
        id, length, prefix = begins.groups()
        body = begins.end()
        end = body + int.from_bytes(prefix, "big")
        ends = self._tail.match(data, end)
        if end == body or ends is None or ends[1] != id or int.from_bytes(length, "big") != end - body + PREFIX:
            return None
        return id, body, end, ends.end()

    def learn(self, data: bytes, at: int, end: int) -> None:
        """Look at a whole frame that was not recognised; three in a row may be the usual answer from now on."""
        begin = at + http2.HEADER_SIZE
        kind, flags, stream = data[at + 3], data[at + 4], data[at + 5 : begin]
        wanted = ((http2.HEADERS, http2.END_HEADERS), (http2.DATA, 0), (http2.HEADERS, _ENDS))
        seen = self._seen
        if (kind, flags) != wanted[len(seen)] or (seen and seen[0][2] != stream):
            seen.clear()
            if (kind, flags) != wanted[0]:
                return
        seen.append((kind, flags, stream, data[begin:end]))
        if len(seen) < len(wanted):
            return
        (_, _, _, first), (_, _, _, message), (_, _, _, last) = seen
        seen.clear()
        head, tail = self._blocks.read(first), self._blocks.read(last)
        size = len(message) - PREFIX
        whole = message[:1] == b"\0" and int.from_bytes(message[1:PREFIX], "big") == size
        if head.http_status == _GOOD and head.status < 0 and tail.status == 0 and whole:
            start = http2.frame_start(http2.HEADERS, http2.END_HEADERS, len(first))
            self._head = re.compile(
                re.escape(start) + _ID + re.escape(first) + _LENGTH + rb"\x00\x00" + _SAME_ID + rb"\x00" + _SIZE
            )
            self._tail = re.compile(
                re.escape(http2.frame_start(http2.HEADERS, _ENDS, len(last))) + _ID + re.escape(last)
            )
