"""Requests from a model's metadata: random where nothing is said, or as ``Inputs`` says.

The same seed gives the same requests in every process.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_triton.case import Inputs
from pytest_triton.errors import InputError, nearest
from pytest_triton.load.arrays import Array, ArrayMaker
from pytest_triton.load.base import Request, RequestSet
from pytest_triton.load.data_files import KINDS, read_path
from pytest_triton.load.samples import Sample, Tensors, split
from pytest_triton.load.shapes import InputSpec, check_batch_size, check_declared, describe, open_up, settle, varies

__all__ = ["InputSpec", "make_request", "make_requests"]

_ZERO = "zero"


def make_requests(
    metadata: Mapping[str, Any],
    *,
    max_batch_size: int,
    inputs: Inputs,
    batch_size: int,
    model: str,
    optional: Collection[str] = (),
) -> RequestSet:
    """Make the requests that ``inputs`` asks for, from Triton's answer to ``GET v2/models/<model>``.

    There are ``inputs.count`` different ones as far as anything is drawn, and at least as many as the data holds.
    Inputs named in ``optional`` are left out unless ``inputs`` gives a shape or data for them. Raises
    ``InputError`` with what to write where the metadata and ``inputs`` do not settle every tensor.
    """
    check_batch_size(batch_size, max_batch_size, model)
    batch = (batch_size,) if max_batch_size > 0 else ()
    specs = {entry["name"]: describe(entry, batch, model) for entry in metadata.get("inputs", ())}
    for name, shape in inputs.shapes.items():
        if name not in specs:
            raise InputError(
                f"a shape is given for {name!r}, which is no input", hint=nearest(name, specs), model=model
            )
        check_declared(specs[name], batch, shape, model)
    outputs = {entry["name"]: describe(entry, batch, model) for entry in metadata.get("outputs", ())}
    opened = {name: open_up(spec, batch, inputs.shapes.get(name)) for name, spec in specs.items()}
    source = _Source(inputs, Tensors(model, batch, opened, outputs, specs), frozenset(optional))
    requests = list[Request]()
    streams = list[tuple[int, ...]]()
    for samples in source.streams():
        streams.append(tuple(range(len(requests), len(requests) + len(samples))))
        for sample in samples:
            requests.append(source.make(sample, len(requests)))
    return RequestSet(tuple(requests), tuple(streams))


def make_request(
    metadata: Mapping[str, Any],
    *,
    max_batch_size: int,
    inputs: Inputs,
    batch_size: int,
    model: str,
    optional: Collection[str] = (),
) -> Request:
    """Make the first of the requests that ``make_requests`` makes."""
    requests = make_requests(
        metadata,
        max_batch_size=max_batch_size,
        inputs=replace(inputs, count=1),
        batch_size=batch_size,
        model=model,
        optional=optional,
    )
    return requests.requests[0]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the requests of one ``Inputs`` come from."""

    inputs: Inputs
    tensors: Tensors
    optional: frozenset[str]

    def streams(self) -> list[list[Sample]]:
        """Return what is given for each request; where anything is drawn, for ``count`` of them at least."""
        data, model = self.inputs.data, self.tensors.model
        if data is None or self._zero:
            streams = [[Sample()]]
        elif isinstance(data, Mapping):
            streams = [split(self.tensors, data)]
        elif isinstance(data, str | os.PathLike):
            streams = read_path(Path(data), self.tensors)
        elif callable(data):
            return [list(self._call())]
        else:
            raise InputError(
                f"input data cannot be made from {type(data).__name__}",
                hint=f'Give "zero", {KINDS}, a callable (rng, inputs) -> {{name: array}}, or a mapping by input name.',
                model=model,
            )
        first = streams[0]
        if len(streams) == 1 and len(first) < self.inputs.count and self._draws(first[0]):
            streams = [[first[index % len(first)] for index in range(self.inputs.count)]]
        return streams

    def make(self, sample: Sample, index: int) -> Request:
        """Make the request number ``index``."""
        arrays = {
            name: self._array(name, sample, index)
            for name in self.tensors.metadata
            if name in sample.values or name not in self.optional or name in self.inputs.shapes
        }
        datatypes = {name: self.tensors.metadata[name].datatype for name in arrays}
        return Request(
            self.tensors.model, arrays, datatypes, expected=sample.expected or None, parameters=sample.parameters
        )

    def _array(self, name: str, sample: Sample, index: int) -> Array:
        value = sample.values.get(name)
        if name in sample.shaped:
            spec = self.tensors.metadata[name]
        elif isinstance(value, np.ndarray | list):
            spec = self.tensors.inputs[name]
        else:
            spec = self._settled(name, index)
        maker = ArrayMaker(spec, self.tensors.batch, self.inputs.seed, self.tensors.model, index)
        if name in sample.values:
            return maker.from_value(value)
        return maker.zeros() if self._zero else maker.random()

    def _call(self) -> Iterator[Sample]:
        """Call the data's function once for each request, always with the same generator of random numbers."""
        rng = np.random.default_rng(self.inputs.seed)
        for index in range(self.inputs.count):
            made = self.inputs.data(rng, {name: self._settled(name, index) for name in self.tensors.metadata})
            if not isinstance(made, Mapping):
                raise InputError(
                    f"the input data's callable returned {type(made).__name__}",
                    hint="Return {name: array}.",
                    model=self.tensors.model,
                )
            for name in made:
                if name not in self.tensors.metadata:
                    self.tensors.refuse(name)
            yield Sample(made)

    def _draws(self, sample: Sample) -> bool:
        """Whether requests differ though the same is given for them."""
        for name in self.tensors.metadata:
            if name in sample.values:
                value = sample.values[name]
                drawn = isinstance(value, tuple) or (
                    not isinstance(value, np.ndarray | list) and varies(self.inputs.shapes.get(name))
                )
            elif name in self.optional and name not in self.inputs.shapes:
                drawn = False
            else:
                drawn = not self._zero or varies(self.inputs.shapes.get(name))
            if drawn:
                return True
        return False

    def _settled(self, name: str, index: int) -> InputSpec:
        declared = self.inputs.shapes.get(name)
        return settle(self.tensors.metadata[name], self.tensors.batch, declared, self.inputs.seed, index)

    @property
    def _zero(self) -> bool:
        return _is_zero(self.inputs.data)


def _is_zero(data: Any) -> bool:
    return isinstance(data, str) and data == _ZERO
