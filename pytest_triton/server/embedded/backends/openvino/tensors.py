"""What a model that OpenVINO has read says about its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..common.refusal import RefusalError
from ..common.signature import FREE, Signature, TensorInfo
from .library import refusing

DATA_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
}
"""OpenVINO's name of an element type -> ``DataType``: those that the official backend takes."""
ELEMENT_TYPES = {data_type: name for name, data_type in DATA_TYPES.items()}


def read_signature(model: Any) -> Signature:
    """Read the signature off an ``openvino.Model``. A type that Triton lacks is ``TYPE_INVALID``."""
    return Signature(inputs=_read(model.inputs, "input"), outputs=_read(model.outputs, "output"))


def element_type(ov: Any, config_name: str, entry: Any, kind: str) -> Any:
    """Return OpenVINO's type for an input or output of the configuration."""
    name = ELEMENT_TYPES.get(entry["data_type"])
    if name is None:
        raise RefusalError(
            f"unsupported datatype {entry['data_type']} for {kind} '{entry['name']}' for model '{config_name}'"
        )
    return getattr(ov.Type, name)


def _read(ports: Iterable[Any], kind: str) -> tuple[TensorInfo, ...]:
    return tuple(_describe(port, kind) for port in ports)


def _describe(port: Any, kind: str) -> TensorInfo:
    with refusing(f"an {kind} of the model has no name, and Triton's clients need one"):
        name = port.any_name
    shape = port.partial_shape
    dims = () if shape.rank.is_dynamic else tuple(dim.get_length() if dim.is_static else FREE for dim in shape)
    return TensorInfo(name, DATA_TYPES.get(port.element_type.get_type_name(), "TYPE_INVALID"), dims)
