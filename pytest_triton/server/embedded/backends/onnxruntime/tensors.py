"""What an ONNX model says about its inputs and outputs, in Triton's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..common.refusal import RefusalError
from ..common.signature import FREE, Signature, TensorInfo

DATA_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(bfloat16)": "TYPE_BF16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
"""ONNX Runtime's name of a tensor type -> ``DataType`` of the model configuration. All that Triton has."""


def read_signature(session: Any) -> Signature:
    """Read the signature off an ``onnxruntime.InferenceSession``, after its shape inference."""
    return Signature(
        inputs=_read(session.get_inputs()),
        outputs=_read(session.get_outputs()),
        initializers=_read(session.get_overridable_initializers()),
    )


def _read(nodes: Iterable[Any]) -> tuple[TensorInfo, ...]:
    return tuple(describe_tensor(node.name, node.type, node.shape) for node in nodes)


def describe_tensor(name: str, onnx_type: str, shape: Iterable[int | str | None]) -> TensorInfo:
    """Translate one input or output: named, unknown and negative dimensions are free."""
    data_type = DATA_TYPES.get(onnx_type)
    if data_type is None:
        raise RefusalError(f"Triton has no data type for '{name}' of ONNX type {onnx_type}")
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else FREE for dim in shape)
    return TensorInfo(name, data_type, dims)
