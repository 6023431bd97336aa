"""What a model says about its inputs and outputs, in Triton's words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FREE = -1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output. A free dimension is -1; ``shape`` is ``()`` for a scalar, and where the rank is unknown."""

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs that a request must bring, initializers it may override, and outputs, in the model's own order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    initializers: tuple[TensorInfo, ...] = ()

    def can_batch(self) -> bool:
        """Tell whether the first dimension of every input and every output is free."""
        return all(info.shape and info.shape[0] == FREE for info in (*self.inputs, *self.outputs))

    def uses(self, data_type: str) -> bool:
        """Tell whether any input or output has this data type."""
        return any(info.data_type == data_type for info in (*self.inputs, *self.initializers, *self.outputs))


def format_shape(shape: Iterable[int]) -> str:
    """Write a shape as Triton's logs do: ``[-1,3,224,224]``."""
    return "[" + ",".join(str(dim) for dim in shape) + "]"
