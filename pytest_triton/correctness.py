"""Are the outputs right? Fast but wrong is disqualified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[Any]]

# Relative and absolute tolerance by NumPy item size of a floating type: another number of threads or another batch adds
# in another order, which moves the last bits; a wrong kernel moves far more.
_TOLERANCE = {2: (2e-2, 1e-3), 4: (1e-3, 1e-5), 8: (1e-6, 1e-9)}


def find_empty(outputs: Outputs) -> str | None:
    """Say which output carries no element, or None. A broken server may answer 200 with empty tensors."""
    if not outputs:
        return "the answer carries no output at all"
    for name, array in outputs.items():
        if array.size == 0:
            return f"output {name!r} is empty (shape {list(array.shape)})"
    return None


def find_misfit(outputs: Outputs, metadata: Mapping[str, Any]) -> str | None:
    """Say which output has another shape than the model's metadata declares (-1 is free), or None.

    Triton does not check what a Python model returns.
    """
    for declared in metadata["outputs"]:
        name, dims = declared["name"], [int(size) for size in declared["shape"]]
        if name not in outputs:
            return f"output {name!r} is missing"
        shape = list(outputs[name].shape)
        fits = len(shape) == len(dims) and all(size in (-1, got) for size, got in zip(dims, shape, strict=True))
        if not fits:
            return f"output {name!r} has shape {shape}, declared is {dims}"
    return None


def find_difference(outputs: Outputs, reference: Outputs, datatypes: Mapping[str, str] | None = None) -> str | None:
    """Say where ``outputs`` differ from ``reference`` by more than the tolerance of their type, or None.

    The sentence names the output, the largest difference and its index. ``datatypes`` are Triton's, where known: BF16,
    which NumPy lacks, may come as float32 and is compared as what it was.
    """
    for name, expected in reference.items():
        if name not in outputs:
            return f"output {name!r} is missing"
        told = _compare(outputs[name], expected, (datatypes or {}).get(name))
        if told:
            return f"output {name!r} {told}"
    return None


def _compare(got: NDArray[Any], expected: NDArray[Any], datatype: str | None) -> str:
    import numpy as np

    if got.shape != expected.shape:
        return f"has shape {list(got.shape)}, expected {list(expected.shape)}"
    short = datatype == "BF16" or "bfloat16" in (got.dtype.name, expected.dtype.name)
    if short:
        got, expected = got.astype(np.float32), expected.astype(np.float32)
    if got.dtype.kind == "f":
        relative, absolute = _TOLERANCE[2 if short else got.dtype.itemsize]
        if np.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True):
            return ""
        gap = np.nan_to_num(np.abs(got.astype(np.float64) - expected.astype(np.float64)), nan=np.inf)
    elif np.array_equal(got, expected):
        return ""
    else:
        gap = (got != expected).astype(np.float64)
    where = np.unravel_index(int(np.argmax(gap)), gap.shape)
    return f"differs most at {[int(i) for i in where]}: {got[where]!r}, expected {expected[where]!r}"
