"""HTTP/1.1 answers, read as they come, in whatever pieces. Standard library only: the worker imports this.

A body is counted, not kept, except the beginning of an error's, which says what went wrong, and one that is asked for.
Grammar and message length: RFC 9112, sections 4, 6 and 7.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

BLOCK_LIMIT = 65536
"""Longest header block, chunk line or trailer that is read, in bytes."""

KEPT = 4096
"""How much of an error's body is kept, in bytes."""

UNTIL_CLOSE = -1
CHUNKED = -2

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_LENGTH = re.compile(rb"\d{1,15}")
_START = b"HTTP/1."


class MalformedAnswer(Exception):
    """The bytes are not an HTTP/1.1 answer."""


class Head(NamedTuple):
    """What a header block says about its answer.

    ``length`` is the body's length in bytes, or ``CHUNKED``, or ``UNTIL_CLOSE``. ``closes`` says that the
    connection ends with this answer.
    """

    status: int
    length: int
    closes: bool


def parse_head(block: bytes) -> Head:
    """Read a header block, without the empty line that ends it. Raises ``MalformedAnswer``."""
    first, *lines = block.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise MalformedAnswer(f"not a status line: {_shown(first)}")
    status, closes = int(match[2]), match[1] == b"0"
    length: int | None = None
    chunked = False
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise MalformedAnswer(f"not a header: {_shown(line)}")
        name, value = header[1].lower(), header[2].lower()
        if name == b"content-length":
            if _LENGTH.fullmatch(value) is None or length not in (None, int(value)):
                raise MalformedAnswer(f"wrong Content-Length: {_shown(value)}")
            length = int(value)
        elif name == b"transfer-encoding":
            if value != b"chunked" or chunked:
                raise MalformedAnswer(f"unknown Transfer-Encoding: {_shown(value)}")
            chunked = True
        elif name == b"connection":
            tokens = {token.strip() for token in value.split(b",")}
            closes = b"close" in tokens or (closes and b"keep-alive" not in tokens)
    if status < 200 or status in (204, 304):
        return Head(status, 0, closes)
    if chunked:
        return Head(status, CHUNKED, closes)
    if length is None:
        return Head(status, UNTIL_CLOSE, True)
    return Head(status, length, closes)


def _shown(text: bytes) -> str:
    return repr(text[:80])[1:]


class _State(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    UNTIL_CLOSE = enum.auto()
    CHUNK_SIZE = enum.auto()
    CHUNK = enum.auto()
    CHUNK_END = enum.auto()
    TRAILERS = enum.auto()
    COMPLETE = enum.auto()


class AnswerParser:
    """Read one answer after the other from a connection's bytes.

    ``feed`` what came and ``end`` it when the peer closed. After either returned True, ``status``,
    ``received``, ``closes`` and ``kept`` describe the answer; ``reset`` makes ready for the next. Any
    split of the same bytes gives the same answers. The work is linear in the bytes.
    """

    __slots__ = (
        "_pending",
        "_state",
        "_trailers",
        "block",
        "closes",
        "keeping",
        "kept",
        "received",
        "remaining",
        "rest",
        "status",
    )

    def __init__(self) -> None:
        self._pending = bytearray()
        self.keeping = False
        """Whether the whole of a body is kept."""
        self.reset()

    def reset(self) -> None:
        """Forget the answer and expect the next one."""
        self._state = _State.HEAD
        self._pending.clear()
        self._trailers = 0
        self.block = b""
        """The header block, when the body's length was in it."""
        self.status = 0
        self.closes = False
        self.received = 0
        """Bytes of the body so far."""
        self.remaining = 0
        """Bytes still to come of the body or of the chunk."""
        self.kept = bytearray()
        """The beginning of an error's body, or the whole of any."""
        self.rest = b""
        """Bytes that came after the answer's end."""

    @property
    def begun(self) -> bool:
        """Whether any byte of this answer has come."""
        return self._state is not _State.HEAD or bool(self._pending)

    @property
    def skippable(self) -> int:
        """How many of the next bytes are body that need not be looked at: they may be counted by ``skip``."""
        return self.remaining if self._state is _State.BODY and self.status < 400 and not self.keeping else 0

    def skip(self, count: int) -> bool:
        """Count ``count <= skippable`` bytes of body that were read and thrown away. True at the answer's end."""
        self.remaining -= count
        self.received += count
        if not self.remaining:
            self._state = _State.COMPLETE
        return not self.remaining

    def feed(self, data: bytes) -> bool:
        """Take bytes as they came; True when the answer is complete. Raises ``MalformedAnswer``."""
        at = 0
        while True:
            state = self._state
            if state is _State.COMPLETE:
                self.rest = data[at:]
                return True
            if at == len(data):
                return False
            if state in (_State.BODY, _State.CHUNK):
                at = self._count(data, at, self.remaining)
                if not self.remaining:
                    self._state = _State.COMPLETE if state is _State.BODY else _State.CHUNK_END
            elif state is _State.UNTIL_CLOSE:
                self.remaining = len(data) - at
                at = self._count(data, at, self.remaining)
            else:
                block, at = self._block(data, at, b"\r\n\r\n" if state is _State.HEAD else b"\r\n")
                if block is not None:
                    self._take(state, block)

    def end(self) -> bool:
        """The peer closed: True when that completes the answer."""
        if self._state is _State.UNTIL_CLOSE:
            self._state = _State.COMPLETE
        return self._state is _State.COMPLETE

    def _count(self, data: bytes, at: int, most: int) -> int:
        taken = min(most, len(data) - at)
        if self.keeping:
            self.kept += memoryview(data)[at : at + taken]
        elif self.status >= 400 and len(self.kept) < KEPT:
            self.kept += data[at : at + min(taken, KEPT - len(self.kept))]
        self.received += taken
        self.remaining -= taken
        return at + taken

    def _block(self, data: bytes, at: int, mark: bytes) -> tuple[bytes | None, int]:
        """Return the bytes up to ``mark`` (None when it has not come yet) and where to go on."""
        if not self._pending:
            end = data.find(mark, at)
            if end >= 0:
                return self._within_limit(data[at:end]), end + len(mark)
        while at < len(data):
            newline = data.find(b"\n", at)
            stop = newline + 1 if newline >= 0 else len(data)
            self._pending += data[at:stop]
            at = stop
            if self._pending.endswith(mark):
                block = bytes(self._pending[: -len(mark)])
                self._pending.clear()
                return self._within_limit(block), at
            if len(self._pending) > BLOCK_LIMIT + len(mark):
                raise MalformedAnswer(f"no end of a header after {BLOCK_LIMIT} bytes")
        if self._state is _State.HEAD and self._pending[: len(_START)] != _START[: len(self._pending)]:
            # Something that is not HTTP may never end a header block: do not wait for it.
            raise MalformedAnswer(f"not a status line: {_shown(bytes(self._pending))}")
        return None, at

    @staticmethod
    def _within_limit(block: bytes) -> bytes:
        if len(block) > BLOCK_LIMIT:
            raise MalformedAnswer(f"no end of a header after {BLOCK_LIMIT} bytes")
        return block

    def _take(self, state: _State, block: bytes) -> None:
        if state is _State.HEAD:
            self._begin(block)
        elif state is _State.CHUNK_SIZE:
            match = _CHUNK_SIZE.fullmatch(block)
            if match is None:
                raise MalformedAnswer(f"not a chunk's size: {_shown(block)}")
            self.remaining = int(match[1], 16)
            self._state = _State.CHUNK if self.remaining else _State.TRAILERS
        elif state is _State.CHUNK_END:
            if block:
                raise MalformedAnswer(f"a chunk is longer than its size: {_shown(block)}")
            self._state = _State.CHUNK_SIZE
        elif not block:
            self._state = _State.COMPLETE
        else:
            self._trailers += len(block)
            if self._trailers > BLOCK_LIMIT or _HEADER.fullmatch(block) is None:
                raise MalformedAnswer(f"not a trailer: {_shown(block)}")

    def _begin(self, block: bytes) -> None:
        head = parse_head(block)
        if head.status == 101:
            raise MalformedAnswer("the server switched protocols, which was not asked for")
        if head.status < 200:
            return  # an interim answer: the real one follows
        self.status, self.closes = head.status, head.closes
        if head.length == CHUNKED:
            self._state = _State.CHUNK_SIZE
        elif head.length == UNTIL_CLOSE:
            self._state = _State.UNTIL_CLOSE
        else:
            self.block = block
            self.remaining = head.length
            self._state = _State.BODY if head.length else _State.COMPLETE
