"""One response of a gRPC stream, as far as a load must understand it. Standard library only: the worker imports this.

Messages of KServe's ``GRPCInferenceService``: ``ModelStreamInferResponse`` and within it ``ModelInferResponse``, in
protobuf's wire format (protobuf.dev, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_ERROR, _RESPONSE = 1, 2
_PARAMETERS, _OUTPUTS, _CONTENTS = 4, 5, 6
_KEY, _VALUE = 1, 2
_BOOL = 1
_FINAL = b"triton_final_response"


class StreamedResponse(NamedTuple):
    """``final`` says that no other follows to the same request; an ``empty`` one says nothing else."""

    error: str
    final: bool
    empty: bool
    content: bytes


def read_response(message: bytes) -> StreamedResponse:
    """Read a ``ModelStreamInferResponse``. Raises ``ValueError`` when the bytes are none.

    A response that does not say whether it is the last is the only one: that of a model that is not decoupled.
    """
    error, content = "", b""
    for number, value in _fields(message):
        if number == _ERROR and isinstance(value, bytes):
            error = value.decode("utf-8", "replace")
        elif number == _RESPONSE and isinstance(value, bytes):
            content = value
    final, empty = True, True
    for number, value in _fields(content):
        if number == _PARAMETERS and isinstance(value, bytes) and _FINAL in value:
            entry = dict(_fields(value))
            choice = entry.get(_VALUE)
            if entry.get(_KEY) == _FINAL and isinstance(choice, bytes):
                final = bool(dict(_fields(choice)).get(_BOOL))
        elif number in (_OUTPUTS, _CONTENTS):
            empty = False
    return StreamedResponse(error, final, empty, content)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of every field, in order."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > end:
            raise ValueError("a field that is longer than its message")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number that does not end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
