"""An ONNX file without its weights, so that the inputs and outputs of a large model are known in milliseconds.

To know the shapes of outputs ONNX Runtime has to see the graph, but hardly any weight: a weight's name, type and dims
do. So every large initializer of the file becomes an input of the graph, and the rest stays as it is, including the
small initializers that shape inference reads. The file is walked field by field and weights are skipped, never read.

Layout: onnx.proto (``ModelProto``, ``GraphProto``, ``TensorProto``, ``ValueInfoProto``), protobuf's wire format.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..common.refusal import RefusalError

LARGE = 1024
"""Bytes above which an initializer is a weight. Shapes, axes and the like are far smaller."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MODEL_GRAPH = 7
GRAPH_INITIALIZER, GRAPH_INPUT = 5, 11
TENSOR_DIMS, TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_DATA_LOCATION = 1, 2, 8, 14
EXTERNAL = 1
VALUE_INFO_NAME = 1

Buffer = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model file's bytes without weights, and the names of the initializers that are now inputs of the graph."""

    model: bytes
    weights: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: ``start`` to ``end`` with its tag, ``payload`` to ``end`` without."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int
    value: int = 0


def read_skeleton(path: Path) -> Skeleton:
    """Read a file and drop its weights. Raises ``RefusalError`` when it is not protobuf."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise RefusalError(f"{path} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return strip_weights(data)


def strip_weights(data: Buffer) -> Skeleton:
    """Replace the large initializers of a serialized ``ModelProto``."""
    parts: list[bytes] = []
    weights: set[str] = set()
    for field in _walk(data, 0, len(data)):
        if field.number == MODEL_GRAPH and field.wire_type == LENGTH:
            graph, weights = _strip_graph(data, field)
            parts.append(_write_message(MODEL_GRAPH, graph))
        else:
            parts.append(data[field.start : field.end])
    return Skeleton(b"".join(parts), frozenset(weights))


def _strip_graph(data: Buffer, graph: _Field) -> tuple[bytes, set[str]]:
    kept: list[bytes] = []
    declared: set[str] = set()
    weights: dict[str, bytes] = {}
    for field in _walk(data, graph.payload, graph.end):
        if field.number == GRAPH_INITIALIZER:
            name, value_info = _describe_weight(data, field)
            if value_info is not None:
                weights[name] = value_info
                continue
        elif field.number == GRAPH_INPUT:
            declared.add(_read_name(data, field, VALUE_INFO_NAME))
        kept.append(data[field.start : field.end])
    # Older files list initializers among the inputs too.
    kept += [value_info for name, value_info in weights.items() if name not in declared]
    return b"".join(kept), set(weights)


def _describe_weight(data: Buffer, tensor: _Field) -> tuple[str, bytes | None]:
    """Return an initializer's name and the graph input to put in its place, None where it is small enough to stay."""
    name, element_type, external = "", 0, False
    dims: list[int] = []
    for field in _walk(data, tensor.payload, tensor.end):
        if field.number == TENSOR_NAME:
            name = data[field.payload : field.end].decode()
        elif field.number == TENSOR_DATA_TYPE:
            element_type = field.value
        elif field.number == TENSOR_DATA_LOCATION:
            external = field.value == EXTERNAL
        elif field.number == TENSOR_DIMS:
            dims += _read_varints(data, field)
    if not external and tensor.end - tensor.payload <= LARGE:
        return name, None
    shape = b"".join(_write_message(1, _write_number(1, dim)) for dim in dims)
    tensor_type = _write_number(1, element_type) + _write_message(2, shape)
    value_info = _write_message(VALUE_INFO_NAME, name.encode()) + _write_message(2, _write_message(1, tensor_type))
    return name, _write_message(GRAPH_INPUT, value_info)


def _read_name(data: Buffer, message: _Field, number: int) -> str:
    for field in _walk(data, message.payload, message.end):
        if field.number == number:
            return data[field.payload : field.end].decode()
    return ""


def _read_varints(data: Buffer, field: _Field) -> list[int]:
    """Read a repeated integer, packed or not."""
    if field.wire_type == VARINT:
        return [field.value]
    values = []
    position = field.payload
    while position < field.end:
        value, position = _read_varint(data, position, field.end)
        values.append(value)
    return values


def _walk(data: Buffer, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        start = position
        tag, position = _read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        value = 0
        payload = position
        if wire_type == VARINT:
            value, position = _read_varint(data, position, end)
        elif wire_type == LENGTH:
            length, payload = _read_varint(data, position, end)
            position = payload + length
        elif wire_type in (FIXED64, FIXED32):
            position += 8 if wire_type == FIXED64 else 4
        else:
            raise RefusalError("not an ONNX file: unknown wire type")
        if not number or position > end:
            raise RefusalError("not an ONNX file, or cut short")
        yield _Field(number, wire_type, start, payload, position, value)


def _read_varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise RefusalError("not an ONNX file, or cut short")


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _write_number(number: int, value: int) -> bytes:
    return _write_varint(number << 3 | VARINT) + _write_varint(value)


def _write_message(number: int, payload: bytes) -> bytes:
    return _write_varint(number << 3 | LENGTH) + _write_varint(len(payload)) + payload
