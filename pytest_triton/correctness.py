"""Are the outputs right? Fast but wrong is disqualified."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[Any]]
    Mask = NDArray[Any]


class Tolerance(NamedTuple):
    """How far an element may be from the one expected: by ``absolute + relative * |expected|``, as in NumPy."""

    relative: float
    absolute: float


EXACT = Tolerance(0.0, 0.0)
TOLERANCES: Mapping[str, Tolerance] = {
    # Another number of threads, another batch or another kernel adds the same numbers in another order. That moves the
    # last bits of each sum, of a deep network some more; a wrong kernel or a wrong precision moves far more.
    "FP64": Tolerance(1e-6, 1e-9),  # one rounding is 1.1e-16
    "FP32": Tolerance(1e-3, 1e-5),  # 6.0e-8; leaves room for TF32, whose products have 10 bits (4.9e-4)
    "FP16": Tolerance(2e-2, 1e-3),  # 4.9e-4, and no number below 6.0e-8
    "BF16": Tolerance(2e-2, 1e-3),  # 3.9e-3: some five roundings
    # Quantised outputs may be one step off, but the same types hold class numbers and tokens, where one off is wrong.
    # Whoever has the former says tolerance={"INT8": 1}.
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"), EXACT),
    "BOOL": EXACT,
    "BYTES": EXACT,
}
"""What is allowed by Triton's data type of an output, unless a search says otherwise."""
NUMBERS = tuple(name for name in TOLERANCES if name not in ("BOOL", "BYTES"))
"""The types that another tolerance can be given for."""
_NUMPY = {"float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64", "bool": "BOOL"}
_LONGEST = 60
"""Characters of a string that is shown."""


def allow(others: Mapping[str, tuple[float, float]]) -> Mapping[str, Tolerance]:
    """Return what is allowed by data type, with ``others`` (relative, absolute) in place of the usual."""
    return {**TOLERANCES, **{name: Tolerance(*pair) for name, pair in others.items()}} if others else TOLERANCES


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


def find_difference(
    outputs: Outputs,
    reference: Outputs,
    datatypes: Mapping[str, str] | None = None,
    tolerances: Mapping[str, Tolerance] = TOLERANCES,
) -> str | None:
    """Say where ``outputs`` differ from ``reference`` by more than the tolerance of their type, or None.

    The sentence names the output, the largest difference, its index, and how many elements differ. Outputs that the
    reference lacks are not compared. ``datatypes`` are Triton's, where known, else NumPy's: BF16, which NumPy lacks,
    may come as float32 and is compared as what it was. NaN equals itself.
    """
    for name, expected in reference.items():
        if name not in outputs:
            return f"output {name!r} is missing"
        got = outputs[name]
        datatype = (datatypes or {}).get(name) or _datatype(got, expected)
        told = _compare(got, expected, tolerances.get(datatype, EXACT))
        if told:
            return f"output {name!r} {told}"
    return None


def _datatype(got: NDArray[Any], expected: NDArray[Any]) -> str:
    """Return Triton's name of the type of what was answered; BF16 if either is it."""
    found = [_NUMPY.get(array.dtype.name, array.dtype.name.upper()) for array in (got, expected)]
    return "BF16" if "BF16" in found else found[0]


def _compare(got: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> str:
    import numpy as np

    if got.shape != expected.shape:
        return f"has shape {list(got.shape)}, expected {list(expected.shape)}"
    if not _is_number(got) or not _is_number(expected):
        got, expected = _as_bytes(got), _as_bytes(expected)
        differ = np.asarray(got != expected, dtype=bool)
        if not differ.any():
            return ""
        where = tuple(int(index) for index in np.argwhere(differ)[0])
        told = f"differs first at {list(where)}: {_show(got[where])}, expected {_show(expected[where])}"
        return f"{told}; {_count(differ)}"
    if np.array_equal(got, expected):
        return ""
    differ, gap = _beyond(got, expected, tolerance)
    if not differ.any():
        return ""
    largest = np.argmax(np.where(differ, gap, -1.0))
    where = tuple(int(index) for index in np.unravel_index(int(largest), gap.shape))
    told = f"differs most at {list(where)}: {_show(got[where])}, expected {_show(expected[where])}"
    by = _size(float(gap[where]), float(expected[where]), tolerance) if got.dtype.kind != "b" else ""
    return f"{told}{by}; {_count(differ)}"


def _beyond(got: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> tuple[Mask, NDArray[Any]]:
    """Return which numbers differ by more than they may, and by how much each differs."""
    import numpy as np

    equal = got == expected
    one, other = got.astype(np.float64), expected.astype(np.float64)
    equal |= np.isnan(one) & np.isnan(other)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.nan_to_num(np.abs(one - other), nan=np.inf, posinf=np.inf)
        # Large integers have no float64 of their own: those that differ do so by 1 at least.
        whole = got.dtype.kind in "iub" and expected.dtype.kind in "iub"
        gap = np.where(equal, 0.0, np.maximum(gap, 1.0) if whole else gap)
        allowed = tolerance.absolute + tolerance.relative * np.abs(other)
        within = np.isfinite(one) & np.isfinite(other) & (gap <= allowed)
    return ~(equal | within), gap


def _size(gap: float, expected: float, tolerance: Tolerance) -> str:
    """Say how large a difference is, in the terms of what was allowed. "" where numbers say nothing of it."""
    if not (math.isfinite(gap) and math.isfinite(expected)):
        return ""
    if expected and tolerance.relative:
        relative = f"relative {gap / abs(expected):.3g}" if gap > 10 * abs(expected) else ""
        relative = relative or f"relative {100 * gap / abs(expected):.3g} %"
        return f" ({relative}, allowed {100 * tolerance.relative:.3g} %)"
    return f" (by {gap:.3g}, allowed {tolerance.absolute:.3g})"


def _count(differ: Mask) -> str:
    import numpy as np

    count = int(np.count_nonzero(differ))
    return f"{count:,} of {differ.size:,} elements differ{'s' if count == 1 else ''}"


def _is_number(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"


def _as_bytes(array: NDArray[Any]) -> NDArray[Any]:
    """Return strings as Triton has them, so that one way of writing them equals the other."""
    import numpy as np

    items = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result.reshape(array.shape)


def _show(value: Any) -> str:
    shown = str(value) if hasattr(value, "dtype") else repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
