"""An ONNX file that says what a model's outputs must be, run by onnxruntime in this process, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import UnusableReference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]

_TYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(string)": "object",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""NumPy's names for the types that onnxruntime takes from it and gives back."""
_OWN = "Or let reference= be a function from the inputs by name to the outputs by name, which runs it in its own way."


class OnnxReference:
    """An opened ONNX file. Called with the inputs of a request, batch dimension included, it returns all its tensors.

    Inputs of another floating type are converted to the file's, so that a model in FP16 has its FP32 original as its
    reference. Raises ``UnusableReference`` when the file cannot be opened, or cannot take the inputs.
    """

    def __init__(self, path: Path) -> None:
        self._name = f"reference={path.name}"
        # As in the backend: newer versions report their use over the network unless this is set before the import.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except ImportError as error:
            raise UnusableReference(
                f"{self._name} needs onnxruntime, which cannot be imported here: {error}",
                hint=f"Install it beside pytest: pip install onnxruntime. {_OWN}",
            ) from error
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's errors have no base of their own.
            raise UnusableReference(
                f"{self._name} cannot be opened: {_first_line(error)}", details=[str(path)], hint=_OWN
            ) from error

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs that are tensors."""
        return tuple(output.name for output in self._session.get_outputs() if output.type in _TYPES)

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Return its outputs for ``inputs``; strings come as ``str``."""
        feeds = {wanted.name: wanted for wanted in self._session.get_inputs()}
        if feeds.keys() != inputs.keys():
            raise UnusableReference(
                f"{self._name} takes other inputs than the model: {', '.join(feeds) or 'none'}, "
                f"not {', '.join(inputs) or 'none'}",
                hint=f"Export it with the model's names. {_OWN}",
            )
        given = {name: self._convert(feeds[name], array) for name, array in inputs.items()}
        names = list(self.outputs)
        try:
            return dict(zip(names, self._session.run(names, given), strict=True))
        except Exception as error:
            raise UnusableReference(f"{self._name} fails: {_first_line(error)}", hint=_OWN) from error

    def _convert(self, wanted: Any, array: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        sizes = [size if isinstance(size, int) else -1 for size in wanted.shape]
        if len(sizes) != array.ndim or any(size not in (-1, got) for size, got in zip(sizes, array.shape, strict=True)):
            raise UnusableReference(
                f"{self._name} takes {wanted.name!r} of shape {sizes}, and the requests have {list(array.shape)}",
                hint=f"Its first dimension is the batch, if the model batches: export it with one that is free. {_OWN}",
            )
        known = _TYPES.get(wanted.type)
        if known == "object" and array.dtype.kind in "OSU":
            return _as_text(array)
        dtype = np.dtype(known) if known is not None else None
        if dtype is not None and (dtype == array.dtype or (dtype.kind == "f" and _is_float(array))):
            return array.astype(dtype)
        raise UnusableReference(
            f"{self._name} takes {wanted.name!r} as {wanted.type}, and the requests have {array.dtype}", hint=_OWN
        )


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _as_text(array: NDArray[Any]) -> NDArray[Any]:
    """Return strings as onnxruntime takes them, as ``str``; of ``bytes`` it would take their ``repr``."""
    import numpy as np

    items = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in array.reshape(-1)]
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result.reshape(array.shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
