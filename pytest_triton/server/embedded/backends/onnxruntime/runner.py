"""Run a session: arrays in, arrays out, whatever their type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..common.batching import Array
from ..common.bfloat16 import read_bits
from ..common.refusal import RefusalError
from ..common.signature import Signature

ONNX_BFLOAT16 = 16
"""``TensorProto.BFLOAT16``."""


class Runner:
    """One session of ONNX Runtime, with arrays as Triton has them.

    BF16 is an array of uint16 with the raw bits; a string is ``bytes`` on the way in and ``str`` on the way out.
    Results belong to the caller. Binding inputs and outputs was measured and gains nothing on a CPU: the package takes
    a NumPy array's own memory as input, and ``run`` is faster than a binding for small and large tensors alike.
    """

    def __init__(self, ort: Any, session: Any, signature: Signature, run_options: Any | None) -> None:
        self._ort = ort
        self._session = session
        self._run_options = run_options
        types = {info.name: info for info in (*signature.inputs, *signature.initializers)}
        self._strings = {name for name, info in types.items() if info.data_type == "TYPE_STRING"}
        self._scalars = {name for name, info in types.items() if not info.shape}
        self._bfloat16 = {name for name, info in types.items() if info.data_type == "TYPE_BF16"}
        self._through_values = signature.uses("TYPE_BF16")
        if self._through_values and self._strings:
            raise RefusalError(
                f"BF16 tensors beside the string input '{min(self._strings)}': ONNX Runtime's Python API takes strings"
                " as an array only, and BF16 only as a value of its own"
            )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs. Raises what ONNX Runtime does, or ``RefusalError`` for strings it cannot give."""
        feeds = {name: self._prepare(name, array) for name, array in inputs.items()}
        if self._through_values:
            return self._run_through_values(feeds, outputs)
        try:
            results = self._session.run(list(outputs), feeds, self._run_options)
        except UnicodeDecodeError as error:
            raise RefusalError(
                f"an output string is not UTF-8, which ONNX Runtime's Python API requires: {error}"
            ) from error
        return dict(zip(outputs, (np.asarray(result) for result in results), strict=True))

    def _prepare(self, name: str, array: Array) -> Array:
        if name in self._scalars and array.size == 1:
            array = array.reshape(())
        return _decode_strings(array) if name in self._strings else array

    def _run_through_values(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        value = self._ort.OrtValue
        wrapped = {
            name: value.ortvalue_from_numpy_with_onnx_type(array, ONNX_BFLOAT16)
            if name in self._bfloat16
            else value.ortvalue_from_numpy(array)
            for name, array in feeds.items()
        }
        results = self._session.run_with_ort_values(list(outputs), wrapped, self._run_options)
        return {
            name: read_bits(result.data_ptr(), result.shape())
            if result.data_type() == "tensor(bfloat16)"
            else np.array(result.numpy())
            for name, result in zip(outputs, results, strict=True)
        }


def _decode_strings(array: Array) -> Array:
    """Make strings of the bytes that Triton has: ONNX Runtime takes ``str``, and of ``bytes`` their ``repr``.

    Bytes that are not UTF-8 go in as fixed-width bytes, of which it takes all before the first zero byte, running on
    into the next item where there is none: so one is always added. The official backend cuts every string there.
    """
    decoded = np.empty(array.shape, dtype=object)
    try:
        decoded.reshape(-1)[:] = [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1)]
    except UnicodeDecodeError:
        width = max(len(item) for item in array.reshape(-1)) + 1
        return array.astype(f"S{width}")
    return decoded
