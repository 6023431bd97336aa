"""Perf Analyzer's JSON input: streams of steps, each with the tensors of one request, and what must be answered.

``{"data": [step, ...]}`` is one stream, ``{"data": [[step, ...], ...]}`` several. A step maps each input to its
elements in row-major order, to ``{"content": elements, "shape": sizes}``, or to ``{"b64": raw bytes}``, which may stand
for the elements too. ``validation_data`` is built alike, with outputs. Beyond that format, a step's ``parameters``, if
no input is called so, go along with its request.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_triton.errors import InputError, nearest
from pytest_triton.load.arrays import Array, convert, from_raw
from pytest_triton.load.samples import Parameters, Sample, Tensors, as_answered, batch_up, shape_up
from pytest_triton.load.shapes import InputSpec

_PARAMETERS = "parameters"
_IGNORED = "model"
"""Perf Analyzer lets a step name a model, for other services than Triton."""


def read_json(path: Path, tensors: Tensors) -> list[list[Sample]]:
    """Read the samples of each stream. Raises ``InputError`` naming stream, step and tensor; ``ValueError`` when the
    file is no JSON.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or "data" not in document:
        raise InputError('there is no "data" in it', hint='Write {"data": [{"<input>": [...]}, ...]}.')
    streams = _streams(document["data"], "data")
    answers = None
    if "validation_data" in document:
        answers = _streams(document["validation_data"], "validation_data")
        if [len(stream) for stream in answers] != [len(stream) for stream in streams]:
            raise InputError(
                '"validation_data" has other streams or steps than "data"', hint="Give one entry for each step."
            )
    samples = []
    for number, stream in enumerate(streams):
        steps = [
            _read_step(step, answers[number][place] if answers else {}, tensors, f"stream {number}, step {place}")
            for place, step in enumerate(stream)
        ]
        try:
            samples.append(batch_up(tensors, steps))
        except InputError as error:
            raise InputError(f"stream {number}: {error.problem}", hint=error.hint) from error
    return samples


def _streams(value: Any, field: str) -> list[list[Any]]:
    if not isinstance(value, list) or not value:
        raise InputError(f'"{field}" is no list with something in it', hint="Give a list of steps, or of streams.")
    if all(isinstance(entry, dict) for entry in value):
        return [value]
    if not all(isinstance(entry, list) for entry in value):
        raise InputError(
            f'"{field}" has both steps and streams, or neither', hint="Give objects only, or lists of objects only."
        )
    for number, stream in enumerate(value):
        if not stream or not all(isinstance(step, dict) for step in stream):
            raise InputError(
                f'"{field}", stream {number}, is no list of steps', hint='Write a step as {"<tensor>": [...]}.'
            )
    return value


def _read_step(step: Mapping[str, Any], answer: Mapping[str, Any], tensors: Tensors, where: str) -> Sample:
    values, expected = {}, {}
    parameters: Parameters = {}
    for name, value in step.items():
        if name in tensors.inputs:
            values[name] = _read_tensor(value, tensors.inputs[name], tensors, where)
        elif name == _PARAMETERS:
            parameters = _read_parameters(value, where)
        elif name != _IGNORED:
            raise InputError(f"{where}: {name!r} is no input", hint=nearest(name, tensors.inputs))
    for name, value in answer.items():
        if name not in tensors.outputs:
            raise InputError(f"{where}: {name!r} is no output", hint=nearest(name, tensors.outputs))
        spec = tensors.outputs[name]
        expected[name] = as_answered(spec, _read_tensor(value, spec, tensors, where))
    shaped = frozenset(name for name in values if isinstance(step[name], dict) and "shape" in step[name])
    return Sample(values, expected, parameters, shaped)


def _read_parameters(value: Any, where: str) -> Parameters:
    if not isinstance(value, dict) or not all(isinstance(each, str | int) for each in value.values()):
        raise InputError(f"{where}: its parameters are {value!r}", hint="Map names to strings, integers or booleans.")
    return value


def _read_tensor(value: Any, spec: InputSpec, tensors: Tensors, where: str) -> Array:
    try:
        shape = None
        content = value
        if isinstance(value, dict) and "b64" not in value:
            if "content" not in value:
                raise InputError(f"{spec.name!r} has no content", hint='Write {"content": [...], "shape": [...]}.')
            content = value["content"]
        if isinstance(value, dict) and "shape" in value:
            shape = _read_shape(value["shape"], spec)
        return shape_up(_read_content(content, spec, tensors), spec, tensors, shape)
    except InputError as error:
        raise InputError(f"{where}: {error.problem}", hint=error.hint) from error


def _read_shape(value: Any, spec: InputSpec) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(size, int) and size >= 0 for size in value):
        raise InputError(f"the shape of {spec.name!r} is {value!r}", hint="Write a list of sizes.")
    return tuple(value)


def _read_content(content: Any, spec: InputSpec, tensors: Tensors) -> Array:
    if isinstance(content, list):
        return np.asarray(convert(spec, content, tensors.model)).reshape(-1)
    if not isinstance(content, dict) or not isinstance(content.get("b64"), str):
        raise InputError(f"{spec.name!r} is {content!r}", hint='Write a list of elements, or {"b64": "..."}.')
    try:
        raw = base64.b64decode(content["b64"], validate=True)
    except binascii.Error as error:
        raise InputError(
            f"the base64 of {spec.name!r} cannot be read: {error}", hint="Encode the raw bytes anew."
        ) from error
    return from_raw(spec, raw, tensors.model)
