"""The shapes of request tensors: from a model's metadata, as declared, or drawn for each request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_triton.errors import InputError

DATATYPES = frozenset("BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FP16 BF16 FP32 FP64 BYTES".split())  # noqa: SIM905
_EXAMPLE_SIZE = 16

Sizes = tuple[int | tuple[int, int], ...]
"""Sizes as a user declares them: a pair ``(low, high)`` is drawn for each request, both included."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model's metadata says of one input (or output), for the request that is made.

    ``shape`` is the whole tensor's, with the batch dimension if the model batches; -1 where a dimension
    is free and no shape was declared. ``dtype`` is the array's type in tritonclient's reading.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def check_batch_size(batch_size: int, max_batch_size: int, model: str) -> None:
    """Raise ``InputError`` when the model cannot take requests of ``batch_size``."""
    if batch_size < 1:
        raise InputError(f"a batch size of {batch_size} cannot be sent", hint="Write 1 or more.", model=model)
    if max_batch_size <= 0 and batch_size > 1:
        raise InputError(
            f"a batch size of {batch_size} cannot be sent: the model does not batch",
            hint="Write batch_size=1, or give the model a max_batch_size.",
            model=model,
        )
    if 0 < max_batch_size < batch_size:
        raise InputError(
            f"a batch size of {batch_size} is more than the model's max_batch_size of {max_batch_size}",
            hint=f"Write batch_size={max_batch_size} or less, or raise max_batch_size.",
            model=model,
        )


def describe(entry: Mapping[str, Any], batch: tuple[int, ...], model: str) -> InputSpec:
    """Read one input or output of the metadata; its batch dimension becomes ``batch``."""
    from tritonclient.utils import triton_to_np_dtype

    name, datatype = entry["name"], entry["datatype"]
    if datatype not in DATATYPES:
        raise InputError(f"tensor {name!r} has the data type {datatype}, which cannot be made here", model=model)
    dims = tuple(int(size) for size in entry["shape"])[len(batch) :]
    return InputSpec(name, datatype, batch + dims, np.dtype(triton_to_np_dtype(datatype)))


def check_declared(spec: InputSpec, batch: tuple[int, ...], declared: Sequence[Any], model: str) -> None:
    """Raise ``InputError`` when the sizes declared for an input do not fit the model's dims."""
    dims = spec.shape[len(batch) :]
    fits = len(declared) == len(dims) and all(_fits(size, dim) for size, dim in zip(declared, dims, strict=True))
    if not fits:
        raise InputError(
            f"the shape {list(declared)} given for input {spec.name!r} does not fit the model's dims {list(dims)}",
            hint=hint_shape(spec, batch),
            model=model,
        )


def hint_shape(spec: InputSpec, batch: tuple[int, ...]) -> str:
    """Say how the shape of an input with free dimensions is declared."""
    example = [_EXAMPLE_SIZE if size < 0 else size for size in spec.shape[len(batch) :]]
    without = " (without the batch dimension)" if batch else ""
    return f'Write @pytest.mark.triton_input(shape={{"{spec.name}": {example}}}) with the sizes you mean{without}.'


def settle(spec: InputSpec, batch: tuple[int, ...], declared: Sizes | None, seed: int, index: int) -> InputSpec:
    """Return ``spec`` with the declared sizes, those that are pairs drawn for the request number ``index``.

    A draw depends on the pair and on how many times the same pair stood before it in the same shape, and on nothing
    else. So inputs that must agree, like a text's tokens and their mask, do when they declare the same pair, while
    the height and the width of an image differ though both have the same range.
    """
    if declared is None:
        return spec
    sizes = []
    before = Counter[tuple[int, int]]()
    for size in declared:
        if isinstance(size, int):
            sizes.append(size)
            continue
        low, high = size
        rng = np.random.default_rng([seed, index, low, high, before[low, high]])
        before[low, high] += 1
        sizes.append(int(rng.integers(low, high, endpoint=True)))
    return replace(spec, shape=batch + tuple(sizes))


def open_up(spec: InputSpec, batch: tuple[int, ...], declared: Sizes | None) -> InputSpec:
    """Return ``spec`` with the declared sizes, those that are pairs left free: given arrays bring their own."""
    if declared is None:
        return spec
    return replace(spec, shape=batch + tuple(size if isinstance(size, int) else -1 for size in declared))


def varies(declared: Sizes | None) -> bool:
    """Whether sizes are drawn."""
    return declared is not None and any(not isinstance(size, int) and size[0] < size[1] for size in declared)


def _fits(size: Any, dim: int) -> bool:
    if isinstance(size, tuple):
        low, high = size
        return 0 <= low <= high and (dim < 0 or low == high == dim)
    return bool(size >= 0 and dim in (-1, size))
