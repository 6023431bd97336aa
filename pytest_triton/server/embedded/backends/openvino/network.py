"""Run a compiled model: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..common.batching import Array
from ..common.refusal import RefusalError
from .library import refusing


class CompiledNetwork:
    """A compiled model with one inference request.

    ``batch`` is the only batch size that it can run, as in the official backend, and 0 for a model that does not batch.
    A smaller batch is refused, or filled up with zeros where ``padding`` is on.
    """

    def __init__(self, ov: Any, compiled: Any, batch: int, *, padding: bool) -> None:
        self._tensor = ov.Tensor
        self._request = compiled.create_infer_request()
        self._batch = batch
        self._padding = padding

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs. Raises ``RefusalError``."""
        count = len(next(iter(inputs.values()))) if self._batch else 0
        missing = self._batch - count
        if missing and not self._padding:
            raise RefusalError(
                f"expected requests with batch size '{self._batch}', got '{count}'... this error can be avoided by"
                " setting 'ENABLE_BATCH_PADDING' parameter in model configuration to 'YES' at a performance cost."
            )
        given = {name: _pad(array, missing) for name, array in inputs.items()}
        with refusing("running inference"):
            for name, array in given.items():
                # A tensor over the array's own memory, which has to be writable although nothing is written.
                self._request.set_tensor(name, self._tensor(array, shared_memory=array.flags.writeable))
            self._request.infer()
            # The next run reuses the request's memory.
            results = {name: np.array(self._request.get_tensor(name).data) for name in outputs}
        return {name: self._cut(result, count) for name, result in results.items()}

    def _cut(self, result: Array, count: int) -> Array:
        if not self._batch:
            return result
        if result.ndim == 0 or len(result) != self._batch:
            raise RefusalError(
                f"expected the batch size of openvino model output to be {self._batch}, got shape {list(result.shape)}"
            )
        return result[:count]


def _pad(array: Array, missing: int) -> Array:
    if missing:
        array = np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
    return np.ascontiguousarray(array)
