"""Messages between the session and its worker: JSON with raw buffers behind it, over a socket pair.

Standard library only: the worker imports this.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

_SIZES = struct.Struct("<IQ")

Message = dict[str, Any]
Buffer = bytes | bytearray | memoryview


def pack(message: Message, buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """Return the pieces to write, in order: sizes, JSON, and the buffers as they are."""
    lengths = [memoryview(buffer).nbytes for buffer in buffers]
    text = json.dumps({"message": message, "lengths": lengths}).encode()
    # Padded, so that 64-bit numbers in the buffers are aligned where the message is received.
    text += b" " * (-len(text) % 8)
    return [_SIZES.pack(len(text), sum(lengths)) + text, *buffers]


class Unpacker:
    """Put messages together from the pieces in which they arrive.

    Read into ``space()``, then say with ``advance(count)`` how much came; when it returns a message, its
    buffers are views of one block of memory that nothing else uses.
    """

    def __init__(self) -> None:
        self._expect(_SIZES.size)
        self._text = -1

    def _expect(self, size: int) -> None:
        self._memory = memoryview(bytearray(size))
        self._filled = 0

    def space(self) -> memoryview:
        """Return where the next bytes go. Never empty."""
        return self._memory[self._filled :]

    def advance(self, count: int) -> tuple[Message, list[memoryview]] | None:
        """Take note of ``count`` bytes in ``space()``; return the message when it is complete."""
        self._filled += count
        if self._filled < len(self._memory):
            return None
        memory = self._memory
        if self._text < 0:
            self._text, raw = _SIZES.unpack(memory)
            self._expect(self._text + raw)
            return None
        content = json.loads(bytes(memory[: self._text]))
        buffers, at = [], self._text
        for length in content["lengths"]:
            buffers.append(memory[at : at + length])
            at += length
        self._text = -1
        self._expect(_SIZES.size)
        return content["message"], buffers
