"""Tensors to and from bytes as Triton has them, and whole messages of its HTTP protocol (KServe v2, binary tensors)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import InputError, RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"


def encode_request(
    inputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
    *,
    parameters: Mapping[str, str | int | bool] | None = None,
    model: str = "",
) -> tuple[bytes, int]:
    """Return the body of an inference request that asks for all outputs as binary data, and its header's length.

    BF16 tensors are given as float32 arrays or as ml_dtypes has them, BYTES tensors as arrays of bytes or str. Raises
    ``InputError`` when an array does not have the data type that ``datatypes`` names for it.
    ``parameters`` are the request's own.
    """
    described = []
    chunks = []
    for name, array in inputs.items():
        data = encode_tensor(name, array, datatypes[name], model)
        described.append(
            {
                "name": name,
                "datatype": datatypes[name],
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        chunks.append(data)
    header = json.dumps(
        {"inputs": described, "parameters": {"binary_data_output": True, **(parameters or {})}}
    ).encode()
    return b"".join([header, *chunks]), len(header)


def decode_response(body: bytes, header_length: int | None, *, model: str = "") -> dict[str, NDArray[np.generic]]:
    """Return the output tensors of an inference response; BF16 comes as float32, BYTES as an array of bytes.

    Raises ``RequestError`` when a tensor's bytes do not fill its shape.
    """
    end = len(body) if header_length is None else header_length
    answer = json.loads(body[:end])
    tensors = {}
    for output in answer.get("outputs", ()):
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            tensors[output["name"]] = _from_json(output)
        else:
            tensors[output["name"]] = decode_tensor(output, body[end : end + size], model)
            end += size
    return tensors


def encode_tensor(name: str, array: NDArray[np.generic], datatype: str, model: str) -> bytes:
    """Return the bytes of an input. Raises ``InputError`` when the array does not have its data type."""
    import numpy as np
    from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

    if datatype == "BYTES":
        serialized = serialize_byte_tensor(np.asarray(array, dtype=np.object_))
        return bytes(serialized.item()) if serialized.size else b""
    known = triton_to_np_dtype(datatype)
    if known is None:
        raise InputError(f"input {name!r} has the unknown data type {datatype!r}", model=model)
    if datatype == "BF16" and array.dtype == np.float32:
        return _shorten(array.astype(np.float32))
    if array.dtype != np.dtype(known):
        wanted = np.dtype(known).name
        raise InputError(
            f"input {name!r} is {datatype}, which needs an array of {wanted}, not {array.dtype}",
            model=model,
            hint=f"Convert it: array.astype({wanted!r}).",
        )
    return array.tobytes()


def decode_tensor(output: Mapping[str, Any], data: bytes, model: str) -> NDArray[np.generic]:
    """Return an output with its ``name``, ``datatype`` and ``shape``. Raises ``RequestError`` when ``data`` is no such.

    BF16 comes as float32, BYTES as an array of bytes.
    """
    import numpy as np
    from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

    name, datatype, shape = output["name"], output["datatype"], list(output["shape"])
    tensor: NDArray[np.generic]
    if datatype == "BYTES":
        tensor = deserialize_bytes_tensor(data)
    else:
        dtype = np.dtype(np.uint16 if datatype == "BF16" else triton_to_np_dtype(datatype))
        tensor = np.frombuffer(data[: len(data) - len(data) % dtype.itemsize], dtype=dtype)
    if tensor.size != math.prod(shape):
        raise RequestError(
            f"output {name!r} has {len(data)} bytes, which do not fill {datatype} of shape {shape}",
            model=model,
            hint="A Python model served by an interpreter with NumPy 2 does this on Triton 2.51: use numpy<2 there.",
        )
    if datatype == "BF16":
        tensor = (tensor.astype(np.uint32) << 16).view(np.float32)
    return tensor.reshape(shape)


def _shorten(array: NDArray[np.float32]) -> bytes:
    """Return BF16, the upper half of each float32, rounded to the nearest and ties to even; NaN stays NaN."""
    import numpy as np

    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2").tobytes()


def _from_json(output: Mapping[str, Any]) -> NDArray[np.generic]:
    import numpy as np
    from tritonclient.utils import triton_to_np_dtype

    datatype = output["datatype"]
    if datatype == "BYTES":
        values = [value.encode() for value in output["data"]]
        return np.array(values, dtype=np.object_).reshape(output["shape"])
    dtype = np.float32 if datatype == "BF16" else triton_to_np_dtype(datatype)
    return np.array(output["data"], dtype=dtype).reshape(output["shape"])
