"""Join the requests of one execution into as few runs as possible, and divide the outputs again.

Triton's schedulers only put requests into one batch whose inputs have equal shapes apart from the batch dimension,
unless an input is ragged; nothing here relies on that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .refusal import RefusalError

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


def group_requests(requests: Sequence[Tensors], *, batching: bool, ragged: Collection[str] = ()) -> list[list[int]]:
    """Divide the positions of ``requests`` into those that can share a run, in order of arrival.

    Without batching each runs alone. With it, those share a run that bring the same inputs of the same types and
    shapes, apart from the first dimension, and apart from the whole shape where an input is ragged.
    """
    if not batching or len(requests) == 1:
        return [[position] for position in range(len(requests))]
    groups: dict[object, list[int]] = {}
    for position, tensors in enumerate(requests):
        key = frozenset(
            (name, array.dtype.str, None if name in ragged else array.shape[1:]) for name, array in tensors.items()
        )
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def count_batch(tensors: Tensors) -> int:
    """Return a request's batch size: the first dimension of any input, since Triton has checked that they agree."""
    return int(next(iter(tensors.values())).shape[0])


def join_inputs(requests: Sequence[Tensors], ragged: Collection[str] = ()) -> dict[str, Array]:
    """Concatenate along the first dimension, a ragged input flattened. A request that is alone is not copied."""
    joined = {}
    for name, first in requests[0].items():
        if name in ragged:
            joined[name] = np.concatenate([tensors[name].reshape(-1) for tensors in requests])
        else:
            joined[name] = first if len(requests) == 1 else np.concatenate([tensors[name] for tensors in requests])
    return joined


def split_output(name: str, output: Array, sizes: Sequence[int]) -> list[Array]:
    """Cut an output into one view per request; ``sizes`` are the batch sizes.

    Raises ``RefusalError`` when the output's first dimension is not the batch's: nobody could say which part is whose.
    """
    total = sum(sizes)
    if output.ndim == 0 or output.shape[0] != total:
        raise RefusalError(
            f"failed to split the output tensor '{name}' in responses: expected batch size {total} in model output, got"
            f" shape {list(output.shape)}; set max_batch_size to 0 for a model whose outputs have no batch dimension"
        )
    if len(sizes) == 1:
        return [output]
    return np.split(output, np.cumsum(sizes)[:-1])
