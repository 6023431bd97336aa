"""One input's array: random, zero, or what is given for it, in the type and shape that the model takes."""

from __future__ import annotations

import operator
import sys
import zlib
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from pytest_triton.errors import InputError
from pytest_triton.load.shapes import DATATYPES, InputSpec, hint_shape

Array = NDArray[np.generic]

_WORDS = np.array([b"triton", b"model", b"tensor", b"batch", b"shape", b"server", b"load", b"trace"], dtype=np.object_)
_INTEGERS = frozenset(name for name in DATATYPES if "INT" in name)


class ArrayMaker:
    """Makes one input's array for the request number ``index``.

    Each input has a stream of random numbers of its own, so that its values do not depend on which other inputs there
    are.
    """

    def __init__(self, spec: InputSpec, batch: tuple[int, ...], seed: int, model: str, index: int = 0) -> None:
        self._spec = spec
        self._batch = batch
        self._model = model
        self._rng = np.random.default_rng([seed, zlib.crc32(spec.name.encode()), index])

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

    def zeros(self) -> Array:
        """Zeros, False, or empty strings."""
        if self._spec.datatype == "BYTES":
            return self._scalar(b"")
        return np.zeros(self._shape(), dtype=self._spec.dtype)

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
            self._refuse(f"has free dimensions, dims {list(dims)}, and no shape", hint_shape(spec, self._batch))
        return spec.shape

    def _floats(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        values = np.asarray(self._rng.uniform(low, high, size=shape)).astype(self._spec.dtype)
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
            drawn = self._rng.integers(
                operator.index(low), operator.index(high), size=self._shape(), dtype=self._spec.dtype
            )
        except (TypeError, ValueError):
            self._refuse(
                f"is {self._spec.datatype}, which cannot be drawn from {value!r}", "Write integers it can hold."
            )
        return np.asarray(drawn)

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
            if not _holds(self._spec, value):
                self._refuse(f"is {datatype}, which cannot hold {value!r}", f"Write {limits.min} to {limits.max}.")
        return np.full(shape, value, dtype=self._spec.dtype)

    def _array(self, value: Array | list[Any]) -> Array:
        array = convert(self._spec, value, self._model)
        dims = self._spec.shape[len(self._batch) :]
        if self._batch and array.ndim == len(dims):
            array = array[np.newaxis]  # one element of the batch, to be sent batch_size times
        if self._batch and array.ndim == len(dims) + 1 and array.shape[0] == 1:
            array = np.repeat(array, self._batch[0], axis=0)
        wanted = self._spec.shape
        if not fits(array.shape, wanted):
            self._refuse(
                f"is given an array of shape {list(np.shape(value))}, and takes {list(wanted)}",
                "Leave the batch dimension out, or make it the batch size." if self._batch else "Reshape it.",
            )
        return np.ascontiguousarray(array).reshape(array.shape)

    def _refuse(self, problem: str, hint: str) -> NoReturn:
        raise InputError(f"input {self._spec.name!r} {problem}", hint=hint, model=self._model)


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array's ``shape`` is the ``wanted`` one, where -1 is any size."""
    return len(shape) == len(wanted) and all(want in (-1, size) for want, size in zip(wanted, shape, strict=True))


def convert(spec: InputSpec, value: Array | list[Any], model: str) -> Array:
    """Return ``value`` as an array of the tensor's type. Nothing is rounded, and nothing wraps around.

    BF16 is taken as float32 too, and as the 2-byte records that NumPy's files have for it; BYTES as str, bytes, or
    objects of both. Raises ``InputError``.
    """
    if isinstance(value, list):
        return _from_list(spec, value, model)
    if spec.datatype == "BYTES" and value.dtype.kind in "SUO":
        return _as_bytes(spec, value, model)
    if spec.datatype == "BF16" and value.dtype == np.float32:
        return value.astype(spec.dtype)
    if spec.datatype == "BF16" and value.dtype.kind == "V" and value.dtype.itemsize == 2:
        return value if value.dtype == spec.dtype else from_raw(spec, value.tobytes(), model).reshape(value.shape)
    if value.dtype != spec.dtype:
        if value.dtype == spec.dtype.newbyteorder():
            return value.astype(spec.dtype)
        raise InputError(
            f"input {spec.name!r} is {spec.datatype} and is given an array of {value.dtype}",
            hint=f"Convert it: array.astype({spec.dtype.name!r}).",
            model=model,
        )
    return value


def from_raw(spec: InputSpec, data: bytes, model: str) -> Array:
    """Return the elements of a tensor's raw bytes, in one dimension: little-endian, and for BYTES each with its length
    in 4 bytes before it. Raises ``InputError``.
    """
    if spec.datatype == "BYTES":
        return _split_strings(spec, data, model)
    size = 2 if spec.datatype == "BF16" else spec.dtype.itemsize
    if len(data) % size:
        raise InputError(
            f"tensor {spec.name!r} is {spec.datatype}, of which {len(data)} bytes are no whole number of elements",
            hint="Give the raw elements in row-major order, without a header.",
            model=model,
        )
    if spec.datatype == "BF16" and spec.dtype.itemsize == 4:
        # Older releases of tritonclient have float32 for BF16, of which it is the upper half.
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    array: Array = np.frombuffer(data, spec.dtype)
    return array if sys.byteorder == "little" else array.byteswap()


def _split_strings(spec: InputSpec, data: bytes, model: str) -> Array:
    found = list[bytes]()
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise InputError(
                f"tensor {spec.name!r} is BYTES, and its element {len(found)} goes beyond the end of its bytes",
                hint="Before each element stands its length, in 4 bytes, little-endian.",
                model=model,
            )
        found.append(data[at + 4 : end])
        at = end
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


def _from_list(spec: InputSpec, value: list[Any], model: str) -> Array:
    def refuse(why: object) -> NoReturn:
        raise InputError(
            f"input {spec.name!r} is {spec.datatype}, and its list makes no such array: {why}",
            hint="Write values that it can hold, all rows as long as the first.",
            model=model,
        )

    try:
        objects = np.array(value, dtype=np.object_)
        if spec.datatype == "BYTES":
            return _as_bytes(spec, objects, model)
        # NumPy itself would read "1" as a number, cut 1.5 to 1 and wrap 256 around to 0.
        for element in objects.flat:
            if not isinstance(element, int | float | np.number | np.bool_):
                refuse("its rows differ in length" if isinstance(element, list) else f"{element!r} is no number")
            if not _holds(spec, element):
                refuse(f"it cannot hold {element!r}")
        return np.array(value, dtype=spec.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        refuse(error)


def _holds(spec: InputSpec, number: Any) -> bool:
    if spec.datatype == "BOOL":
        return number in (0, 1)
    if spec.datatype not in _INTEGERS:
        return True
    limits = np.iinfo(spec.dtype)
    return bool(limits.min <= number <= limits.max and number == int(number))


def _as_bytes(spec: InputSpec, array: Array, model: str) -> Array:
    made = np.empty(array.shape, dtype=np.object_)
    for index, element in enumerate(array.flat):
        if not isinstance(element, str | bytes):
            raise InputError(
                f"input {spec.name!r} is BYTES and is given {element!r}", hint="Give str or bytes.", model=model
            )
        made.flat[index] = element.encode() if isinstance(element, str) else bytes(element)
    return made


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and np.isfinite(value)
    )
