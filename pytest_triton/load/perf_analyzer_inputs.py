"""The requests of a plan as Perf Analyzer's JSON, so that it sends the same tensors."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan, Request

Step = dict[str, dict[str, Any]]


def describe_inputs(plan: Plan, *, batched: bool) -> dict[str, Any]:
    """Return the JSON: every tensor as the bytes that go over the wire. Raises ``EngineError``.

    Perf Analyzer puts a batch together from one step after the other, so that a batch is as many steps; the next
    request begins one step further, and has the same rows in rotation. Only sequences use several streams.
    """
    requests = plan.requests.requests
    if plan.load.batch_size > 1 and len({_shapes(request) for request in requests}) > 1:
        raise EngineError(
            "the perf_analyzer engine cannot send batches of requests that differ in shape",
            hint="Write batch_size=1, or fixed shapes, or choose --triton-engine=wire.",
        )
    steps = [_steps(request, batched) for request in requests]
    streams = [[step for index in stream for step in steps[index]] for stream in plan.requests.streams]
    if plan.load.sequence_length is None:
        streams = [[step for stream in streams for step in stream]]
    return {"data": streams}


def _shapes(request: Request) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, array.shape) for name, array in sorted(request.inputs.items()))


def _steps(request: Request, batched: bool) -> list[Step]:
    """Return one step for each row of the batch, or one for a model that does not batch."""
    tensors = {name: np.asarray(array) for name, array in request.inputs.items()}
    if not batched:
        return [{name: _tensor(array, request.datatypes[name]) for name, array in tensors.items()}]
    rows = len(next(iter(tensors.values())))
    return [
        {name: _tensor(array[row], request.datatypes[name]) for name, array in tensors.items()} for row in range(rows)
    ]


def _tensor(array: NDArray[Any], datatype: str) -> dict[str, Any]:
    from tritonclient.utils import serialize_byte_tensor

    if datatype == "BYTES":
        serialized = serialize_byte_tensor(np.asarray(array, dtype=np.object_))
        raw = serialized.item() if serialized.size else b""
    elif datatype == "BF16" and array.dtype == np.float32:
        raw = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    else:
        raw = np.ascontiguousarray(array).tobytes()
    return {"b64": base64.b64encode(raw).decode("ascii"), "shape": list(array.shape)}
