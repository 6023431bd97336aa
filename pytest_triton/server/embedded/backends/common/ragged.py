"""``batch_input`` and ``batch_output``: what tells a model where one ragged request ends and the next begins.

Shapes and values as the documentation of ``ModelConfig`` defines them and the official backends compute them. A shape
of a request here includes its batch dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .batching import Array
from .refusal import RefusalError

NUMPY_TYPES = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}
SCATTER = "BATCH_SCATTER_WITH_INPUT_SHAPE"

Shape = tuple[int, ...]


def compute_batch_input(kind: str, data_type: str, shapes: Sequence[Shape]) -> Array:
    """Return the tensor of a ``batch_input``, from the shapes of its source input in each request of the batch."""
    if data_type not in NUMPY_TYPES:
        raise RefusalError(f"batch_input: data type {data_type} is neither TYPE_FP32 nor TYPE_INT32")
    counts = [math.prod(shape) for shape in shapes]
    values: Any
    if kind == "BATCH_ELEMENT_COUNT":
        values = counts
    elif kind == "BATCH_ACCUMULATED_ELEMENT_COUNT":
        values = np.cumsum(counts)
    elif kind == "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO":
        values = np.cumsum([0, *counts])
    elif kind == "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE":
        # Only the shape of this tensor has a meaning; its values are not to be read.
        values = np.zeros(max(counts))
    elif kind in ("BATCH_ITEM_SHAPE", "BATCH_ITEM_SHAPE_FLATTEN"):
        values = np.array([shape[1:] for shape in shapes for _ in range(shape[0])])
        if kind == "BATCH_ITEM_SHAPE_FLATTEN":
            values = values.reshape(-1)
    else:
        raise RefusalError(f"batch_input: kind {kind} is not known to this backend")
    return np.asarray(values, dtype=NUMPY_TYPES[data_type])


def add_batch_inputs(
    joined: dict[str, Array], batch_inputs: Sequence[Mapping[str, Any]], requests: Sequence[Mapping[str, Array]]
) -> None:
    """Add every ``batch_input`` of the configuration to the joined inputs of ``requests``."""
    for entry in batch_inputs:
        shapes = [tensors[entry["source_input"][0]].shape for tensors in requests]
        tensor = compute_batch_input(entry.get("kind", "BATCH_ELEMENT_COUNT"), entry["data_type"], shapes)
        for target in entry["target_name"]:
            joined[target] = tensor


def scatter_output(name: str, output: Array, dims: Sequence[int], shapes: Sequence[Shape]) -> list[Array]:
    """Cut a flat output into one tensor per request, each shaped like the source input of its request.

    ``dims`` are the output's configured ones, without the batch dimension. A free dimension takes the size that the
    source input has at the same place.
    """
    flat = output.reshape(-1)
    wanted = [
        tuple(shape[place] if dim == -1 else dim for place, dim in enumerate([-1, *dims]))
        for shape in shapes
        if len(shape) >= len(dims) + 1
    ]
    ends = np.cumsum([math.prod(shape) for shape in wanted])
    if len(wanted) != len(shapes) or ends[-1] != flat.size:
        raise RefusalError(
            f"failed to scatter the output tensor '{name}' in responses: the requests' input shapes"
            f" {[list(shape) for shape in shapes]} do not account for its {flat.size} elements"
        )
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), wanted, strict=True)]
