"""Run a TorchScript model: arrays in, arrays out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..common.batching import Array
from ..common.refusal import RefusalError
from .options import Options


class TorchNetwork:
    """A loaded module. ``places`` are the positions of inputs and outputs, ``types`` the declared types of outputs.

    ``as_dictionary`` is set for a model whose one argument is a dictionary of tensors by name.
    """

    def __init__(
        self,
        torch: Any,
        module: Any,
        device: Any,
        options: Options,
        *,
        places: tuple[Mapping[str, int], Mapping[str, int]],
        types: Mapping[str, str],
        as_dictionary: bool,
    ) -> None:
        self._torch = torch
        self._module = module
        self._device = device
        self._options = options
        self._input_places, self._output_places = places
        self._types = types
        self._as_dictionary = as_dictionary

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs. Raises ``RefusalError``."""
        given = {name: self._to_torch(array) for name, array in inputs.items()}
        with self._failing(), self._torch.inference_mode(self._options.inference_mode), self._torch.no_grad():
            if self._as_dictionary:
                returned = self._module(given)
            else:
                returned = self._module(*(given[name] for name in sorted(given, key=self._input_places.__getitem__)))
        results = returned if isinstance(returned, tuple) else (returned,)
        for name, place in self._output_places.items():
            if place >= len(results):
                raise RefusalError(
                    f"The output {name} in the model configuration refers to an output index which doesn't exist. This"
                    f" model has {len(results)} outputs"
                )
        answer = {name: self._to_array(name, results[self._output_places[name]]) for name in outputs}
        if self._options.cache_cleaning and self._device.type == "cuda":
            self._torch.cuda.empty_cache()
        return answer

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Say as the official backend does that it was the model that failed."""
        try:
            yield
        except (self._torch.jit.Error, RuntimeError, TypeError, ValueError, IndexError) as error:
            raise RefusalError(f"PyTorch execute failure: {error}") from error

    def _to_torch(self, array: Array) -> Any:
        if array.dtype == np.object_:
            try:
                return [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1)]
            except UnicodeDecodeError as error:
                raise RefusalError(f"an input string is not UTF-8, as PyTorch's are: {error}") from error
        # PyTorch warns of memory that is not writable, whether it writes or not.
        writable = array if array.flags.writeable else array.copy()
        return self._torch.from_numpy(writable).to(self._device)

    def _to_array(self, name: str, result: Any) -> Array:
        if isinstance(result, list) and all(isinstance(item, str) for item in result):
            return np.array([item.encode() for item in result], dtype=np.object_)
        if not isinstance(result, self._torch.Tensor):
            raise RefusalError(f"output '{name}' must be of type Tensor or List[str].")
        if result.ndim == 0:
            raise RefusalError(f"output '{name}' is a scalar which is not supported.")
        provided = _DATA_TYPES.get(str(result.dtype), "TYPE_INVALID")
        if provided != self._types[name]:
            raise RefusalError(
                f"configuration expects datatype {self._types[name]} for output '{name}', model provides {provided}"
            )
        array: Array = result.detach().cpu().contiguous().numpy()
        return array


_DATA_TYPES = {
    "torch.bool": "TYPE_BOOL",
    "torch.uint8": "TYPE_UINT8",
    "torch.int8": "TYPE_INT8",
    "torch.int16": "TYPE_INT16",
    "torch.int32": "TYPE_INT32",
    "torch.int64": "TYPE_INT64",
    "torch.float16": "TYPE_FP16",
    "torch.float32": "TYPE_FP32",
    "torch.float64": "TYPE_FP64",
}
DATA_TYPES = frozenset({*_DATA_TYPES.values(), "TYPE_STRING"})
"""What inputs and outputs may be, in the official backend and here."""
