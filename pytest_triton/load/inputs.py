"""Request tensors from a model's metadata: random where nothing is said, or as ``Inputs.data`` says.

The same seed gives the same tensors in every process; each input has a stream of its own, so that its
values do not depend on which other inputs there are.
"""

from __future__ import annotations

import operator
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from pytest_triton.case import Inputs
from pytest_triton.errors import InputError, nearest
from pytest_triton.load.base import Request

Array = NDArray[np.generic]

_WORDS = np.array([b"triton", b"model", b"tensor", b"batch", b"shape", b"server", b"load", b"trace"], dtype=np.object_)
_INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
_DATATYPES = _INTEGERS | _FLOATS | {"BOOL", "BYTES"}
_EXAMPLE_SIZE = 16


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model's metadata says of one input, for the request that is made.

    ``shape`` is the whole tensor's, with the batch dimension if the model batches; -1 where a dimension
    is free and no shape was declared. ``dtype`` is the array's type in tritonclient's reading.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def make_request(
    metadata: Mapping[str, Any],
    *,
    max_batch_size: int,
    inputs: Inputs,
    batch_size: int,
    model: str,
    optional: Collection[str] = (),
) -> Request:
    """Make the request that ``inputs`` asks for, from Triton's answer to ``GET v2/models/<model>``.

    Inputs named in ``optional`` are left out unless ``inputs`` gives a shape or data for them. Raises
    ``InputError`` with what to write where the metadata and ``inputs`` do not settle every tensor.
    """
    _check_batch_size(batch_size, max_batch_size, model)
    described = {entry["name"]: entry for entry in metadata.get("inputs", ())}
    for name in inputs.shapes:
        if name not in described:
            raise InputError(
                f"a shape is given for {name!r}, which is no input", hint=nearest(name, described), model=model
            )
    batch = (batch_size,) if max_batch_size > 0 else ()
    specs = {name: _specify(entry, batch, inputs.shapes.get(name), model) for name, entry in described.items()}
    given = _given(inputs, specs, model)
    for name in given:
        if name not in specs:
            raise InputError(f"data is given for {name!r}, which is no input", hint=nearest(name, specs), model=model)
    arrays = {}
    for name, spec in specs.items():
        maker = _Maker(spec, batch, inputs.seed, model)
        if name in given:
            arrays[name] = maker.from_value(given[name])
        elif name not in optional or name in inputs.shapes:
            arrays[name] = maker.random()
    return Request(model, arrays, {name: specs[name].datatype for name in arrays})


def _check_batch_size(batch_size: int, max_batch_size: int, model: str) -> None:
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


def _specify(
    entry: Mapping[str, Any], batch: tuple[int, ...], declared: tuple[int, ...] | None, model: str
) -> InputSpec:
    """Settle an input's shape from the metadata and the shape that was declared, if one was."""
    from tritonclient.utils import triton_to_np_dtype

    name, datatype = entry["name"], entry["datatype"]
    if datatype not in _DATATYPES:
        raise InputError(f"input {name!r} has the data type {datatype}, which cannot be made here", model=model)
    dims = tuple(int(size) for size in entry["shape"])[len(batch) :]
    if declared is not None:
        declared = tuple(declared)
        fits = len(declared) == len(dims) and all(
            size >= 0 and dim in (-1, size) for size, dim in zip(declared, dims, strict=True)
        )
        if not fits:
            raise InputError(
                f"the shape {list(declared)} given for input {name!r} does not fit the model's dims {list(dims)}",
                hint=_shape_hint(name, dims, batch),
                model=model,
            )
        dims = declared
    return InputSpec(name, datatype, batch + dims, np.dtype(triton_to_np_dtype(datatype)))


def _shape_hint(name: str, dims: tuple[int, ...], batch: tuple[int, ...]) -> str:
    example = [_EXAMPLE_SIZE if size < 0 else size for size in dims]
    without = " (without the batch dimension)" if batch else ""
    return f'Write @pytest.mark.triton_input(shape={{"{name}": {example}}}) with the sizes you mean{without}.'


def _given(inputs: Inputs, specs: Mapping[str, InputSpec], model: str) -> Mapping[str, Any]:
    """Return what ``inputs.data`` gives, by input name."""
    data = inputs.data
    if data is None:
        return {}
    if isinstance(data, Mapping):
        return data
    if isinstance(data, str | os.PathLike):
        return _load_npz(Path(data), model)
    if callable(data):
        made = data(np.random.default_rng(inputs.seed), specs)
        if isinstance(made, Mapping):
            return cast("Mapping[str, Any]", made)
        raise InputError(
            f"the input data's callable returned {type(made).__name__}", hint="Return {name: array}.", model=model
        )
    raise InputError(
        f"input data cannot be made from {type(data).__name__}",
        hint="Give the path of an .npz file, a callable (rng, inputs) -> {name: array}, or a mapping by input name.",
        model=model,
    )


def _load_npz(path: Path, model: str) -> dict[str, Array]:
    if path.suffix != ".npz":
        raise InputError(f"input data cannot be read from {path}", hint="Give the path of an .npz file.", model=model)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"input data cannot be read from {path}: {error}", model=model) from error


class _Maker:
    """Makes one input's array."""

    def __init__(self, spec: InputSpec, batch: tuple[int, ...], seed: int, model: str) -> None:
        self._spec = spec
        self._batch = batch
        self._model = model
        self._rng = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])

    def random(self) -> Array:
        """Floats in [0, 1), integers in [0, 10), booleans, short strings."""
        spec, shape = self._spec, self._shape()
        if spec.datatype == "BYTES":
            return cast("Array", _WORDS[self._rng.integers(len(_WORDS), size=shape)].reshape(shape))
        if spec.datatype == "BOOL":
            return self._rng.integers(2, size=shape).astype(np.bool_)
        if self._integral:
            return self._rng.integers(10, size=shape).astype(spec.dtype)
        return self._floats(0.0, 1.0, shape)

    def from_value(self, value: Any) -> Array:
        """An array as it is, a ``(low, high)`` range to draw from, or a scalar that fills the tensor."""
        if isinstance(value, tuple):
            return self._range(value)
        if isinstance(value, np.ndarray | list):
            return self._array(value)
        return self._scalar(value)

    @property
    def _integral(self) -> bool:
        return self._spec.datatype in _INTEGERS

    def _shape(self) -> tuple[int, ...]:
        spec = self._spec
        if -1 in spec.shape:
            dims = spec.shape[len(self._batch) :]
            self._refuse(
                f"has free dimensions, dims {list(dims)}, and no shape", _shape_hint(spec.name, dims, self._batch)
            )
        return spec.shape

    def _floats(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        values = self._rng.uniform(low, high, size=shape).astype(self._spec.dtype)
        # Rounding to a short type may reach the upper end, which does not belong to the range.
        values[values >= high] = low
        return values

    def _range(self, value: tuple[Any, ...]) -> Array:
        if self._spec.datatype in ("BOOL", "BYTES"):
            self._refuse(
                f"is {self._spec.datatype}, so {value!r} is no range to draw from", "Give an array or one value."
            )
        if len(value) != 2 or not all(_is_number(end) for end in value) or not value[0] < value[1]:
            self._refuse(f"cannot be drawn from {value!r}", "Write (low, high) with low < high.")
        low, high = value
        if not self._integral:
            return self._floats(float(low), float(high), self._shape())
        try:
            return self._rng.integers(
                operator.index(low), operator.index(high), size=self._shape(), dtype=self._spec.dtype
            )
        except (TypeError, ValueError):
            self._refuse(
                f"is {self._spec.datatype}, which cannot be drawn from {value!r}", "Write integers it can hold."
            )

    def _scalar(self, value: Any) -> Array:
        shape, datatype = self._shape(), self._spec.datatype
        filled: Array
        if datatype == "BYTES":
            if not isinstance(value, str | bytes):
                self._refuse(f"is BYTES and cannot be filled with {value!r}", "Write a str or bytes.")
            filled = np.empty(shape, dtype=np.object_)
            filled.fill(value.encode() if isinstance(value, str) else value)
            return filled
        proper = isinstance(value, bool | np.bool_) if datatype == "BOOL" else _is_number(value)
        if not proper:
            self._refuse(
                f"is {datatype} and cannot be filled with {value!r}", "Write a scalar, an array or (low, high)."
            )
        if self._integral:
            limits = np.iinfo(self._spec.dtype)
            if value != int(value) or not limits.min <= value <= limits.max:
                self._refuse(f"is {datatype}, which cannot hold {value!r}", f"Write {limits.min} to {limits.max}.")
        return np.full(shape, value, dtype=self._spec.dtype)

    def _array(self, value: Array | list[Any]) -> Array:
        array = self._typed(value)
        dims = self._spec.shape[len(self._batch) :]
        if self._batch and array.ndim == len(dims):
            array = array[np.newaxis]  # one element of the batch, to be sent batch_size times
        if self._batch and array.ndim == len(dims) + 1 and array.shape[0] == 1:
            array = np.repeat(array, self._batch[0], axis=0)
        wanted = self._spec.shape
        if array.ndim != len(wanted) or any(
            want not in (-1, size) for want, size in zip(wanted, array.shape, strict=True)
        ):
            self._refuse(
                f"is given an array of shape {list(np.shape(value))}, and takes {list(wanted)}",
                "Leave the batch dimension out, or make it the batch size." if self._batch else "Reshape it.",
            )
        return np.ascontiguousarray(array).reshape(array.shape)

    def _typed(self, value: Array | list[Any]) -> Array:
        spec = self._spec
        if isinstance(value, list):
            try:
                value = np.array(value, dtype=spec.dtype)
            except (TypeError, ValueError, OverflowError) as error:
                self._refuse(f"is {spec.datatype}, and its list makes no such array: {error}", "Give a NumPy array.")
        if spec.datatype == "BYTES" and value.dtype.kind in "SUO":
            return _as_bytes(value)
        if spec.datatype == "BF16" and value.dtype == np.float32:
            return value.astype(spec.dtype)
        if value.dtype != spec.dtype:
            self._refuse(
                f"is {spec.datatype} and is given an array of {value.dtype}",
                f"Convert it: array.astype({spec.dtype.name!r}).",
            )
        return value

    def _refuse(self, problem: str, hint: str) -> NoReturn:
        raise InputError(f"input {self._spec.name!r} {problem}", hint=hint, model=self._model)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and np.isfinite(value)
    )


def _as_bytes(array: Array) -> Array:
    made = np.empty(array.shape, dtype=np.object_)
    for index, element in enumerate(array.flat):
        made.flat[index] = element.encode() if isinstance(element, str) else element
    return made
