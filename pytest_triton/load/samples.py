"""What is given for single requests, before arrays are made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from pytest_triton.errors import InputError, nearest
from pytest_triton.load.arrays import Array, convert, fits
from pytest_triton.load.shapes import InputSpec, hint_shape

Parameters = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Tensors:
    """A model's tensors as the requests see them. Inputs have the declared sizes, -1 where one is free or drawn.

    ``batch`` is ``(batch size,)``, and empty when the model does not batch. ``metadata`` has the inputs without what
    was declared.
    """

    model: str
    batch: tuple[int, ...]
    inputs: Mapping[str, InputSpec]
    outputs: Mapping[str, InputSpec]
    metadata: Mapping[str, InputSpec]

    def find(self, name: str) -> InputSpec:
        """Return the input, or else the output, of this name. Raises ``InputError`` with the nearest."""
        spec = self.inputs.get(name) or self.outputs.get(name)
        return self.refuse(name) if spec is None else spec

    def refuse(self, name: str) -> NoReturn:
        """Raise the ``InputError`` for a tensor that the model does not have."""
        raise InputError(
            f"data is given for {name!r}, which is no input", hint=nearest(name, self.inputs), model=self.model
        )

    def dims(self, spec: InputSpec) -> tuple[int, ...]:
        """Return the sizes of one element of the batch."""
        return spec.shape[len(self.batch) :]


@dataclass(frozen=True, slots=True)
class Sample:
    """What is given for one request: values by input, arrays that outputs must be, and the request's parameters.

    ``shaped`` names the inputs that say what shape they have: it goes before the one that was declared.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Array] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    shaped: frozenset[str] = frozenset()


def split(tensors: Tensors, given: Mapping[str, Any]) -> list[Sample]:
    """Make the samples of values by tensor name, where an array may hold those of several requests.

    An array of the request's shape is for all of them. With one more leading dimension, it holds one entry for each.
    If the model batches, an array may leave the batch dimension out, to be repeated, or have more elements than the
    batch: each request takes the next ones, until the first of a request is the first of all again.
    """
    columns = {name: _column(tensors, name, value) for name, value in given.items()}
    lengths = {name: len(column) for name, column in columns.items() if len(column) != 1}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} for {name!r}" for name, length in lengths.items())
        raise InputError(
            f"the data holds different numbers of requests: {told}",
            hint="Give every tensor the same leading dimension, or leave it out.",
            model=tensors.model,
        )
    samples = []
    for index in range(max([1, *lengths.values()])):
        row = {name: column[index % len(column)] for name, column in columns.items()}
        inputs = {name: value for name, value in row.items() if name in tensors.inputs}
        expected = {name: _expect(tensors, name, value) for name, value in row.items() if name not in inputs}
        samples.append(Sample(inputs, expected))
    return samples


def batch_up(tensors: Tensors, steps: Sequence[Sample]) -> list[Sample]:
    """Make samples of a stream's ``steps``, each of which is one element of a batch, if the model batches.

    A request takes the next steps, until the first of a request is the first of all again.
    """
    if not tensors.batch:
        return list(steps)
    return [
        _stack([steps[place] for place in places], places, tensors)
        for places in _rotation(len(steps), tensors.batch[0])
    ]


def as_answered(spec: InputSpec, array: Array) -> Array:
    """Return an expected output as answers are decoded: BF16 is float32."""
    return array.astype(np.float32) if spec.datatype == "BF16" else array


def shape_up(array: Array, spec: InputSpec, tensors: Tensors, shape: tuple[int, ...] | None = None) -> Array:
    """Give an array's elements the ``shape`` that is stated, or else the tensor's; one free size follows from them."""
    dims = tensors.dims(spec)
    if shape is not None:
        takes = tensors.metadata[spec.name] if spec is tensors.inputs.get(spec.name) else spec
        if not fits(shape, tensors.dims(takes)):
            raise InputError(
                f"the shape {list(shape)} given for {spec.name!r} does not fit the model's dims "
                f"{list(tensors.dims(takes))}",
                hint="Leave out the batch dimension." if tensors.batch else "Write one that does.",
            )
    wanted = dims if shape is None else shape
    if wanted.count(-1) > 1:
        raise InputError(
            f"{spec.name!r} has free dimensions, dims {list(dims)}, and no shape",
            hint=hint_shape(spec, tensors.batch),
        )
    known = math.prod(size for size in wanted if size >= 0)
    if array.size != known if -1 not in wanted else not known or array.size % known:
        raise InputError(
            f"{spec.name!r} is given {array.size} elements, which do not fill {list(wanted)}",
            hint="Give the elements of one request" + (" of batch size 1." if tensors.batch else "."),
        )
    return array.reshape(wanted)


def _column(tensors: Tensors, name: str, value: Any) -> list[Any]:
    spec = tensors.find(name)
    if not isinstance(value, np.ndarray | list):
        return [value]
    array = convert(spec, value, tensors.model)
    more = array.ndim - len(tensors.dims(spec))
    if more < 1:
        return [array]
    if not len(array):
        raise InputError(
            f"the data given for {name!r} is empty, of shape {list(array.shape)}",
            hint="Give one entry for each request.",
            model=tensors.model,
        )
    if tensors.batch and more == 1:
        return [array[places] for places in _rotation(len(array), tensors.batch[0])]
    if more == 1 + len(tensors.batch):
        return list(array)
    return [array]


def _rotation(length: int, batch: int) -> list[list[int]]:
    """Say which of ``length`` elements stand in each request of ``batch``, up to where it begins anew."""
    return [
        [place % length for place in range(start, start + batch)] for start in range(0, math.lcm(length, batch), batch)
    ]


def _expect(tensors: Tensors, name: str, value: Any) -> Array:
    spec = tensors.outputs[name]
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"the output {name!r} is given as {value!r}", hint="Give the array it must be.", model=tensors.model
        )
    if tensors.batch and value.ndim == len(spec.shape) - 1:
        value = value[np.newaxis]
    if tensors.batch and len(value) == 1:
        value = np.repeat(value, tensors.batch[0], axis=0)
    if not fits(value.shape, spec.shape):
        raise InputError(
            f"the output {name!r} is given as an array of shape {list(value.shape)}, and is {list(spec.shape)}",
            hint="Reshape it, or leave it out to expect nothing of it.",
            model=tensors.model,
        )
    return as_answered(spec, value)


def _stack(steps: Sequence[Sample], places: Sequence[int], tensors: Tensors) -> Sample:
    first = steps[0]
    if len(steps) > 1:
        told = f"steps {', '.join(map(str, places))}, which make one request of batch size {len(steps)},"
        for name in {name for step in steps for name in (*step.values, *step.expected)}:
            shapes = {_shape(step.values.get(name, step.expected.get(name))) for step in steps}
            if len(shapes) > 1:
                raise InputError(
                    f"{told} differ in the shape of {name!r}",
                    hint="Write batch_size=1, or group steps of one shape.",
                    model=tensors.model,
                )
        if any(step.parameters != first.parameters for step in steps):
            raise InputError(f"{told} differ in their parameters", hint="Write batch_size=1.", model=tensors.model)
    return Sample(
        {name: np.stack([step.values[name] for step in steps]) for name in first.values},
        {name: np.stack([step.expected[name] for step in steps]) for name in first.expected},
        first.parameters,
        first.shaped.union(*(step.shaped for step in steps)),
    )


def _shape(array: Array | None) -> tuple[int, ...] | None:
    return None if array is None else array.shape
