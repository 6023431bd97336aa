"""What every candidate's outputs are compared with: the default configuration's, an ONNX file's, or a function's."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.case import Candidate, Case
from pytest_triton.correctness import allow, find_misfit
from pytest_triton.deployment import Deployer
from pytest_triton.errors import UnusableReference, nearest
from pytest_triton.onnx_reference import OnnxReference
from pytest_triton.search.settings import Settings
from pytest_triton.verification import Answers, Reference, WrongOutputs, number_responses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[Any]]

Function = Callable[[dict[str, Any]], Any]
_RETURN = "It gets the inputs of one request, {name: array}, and returns its outputs, {name: array}, or some of them."


def make_reference(deployer: Deployer, case: Case, settings: Settings) -> Reference:
    """Ask the default configuration, and whatever else is the reference, for the outputs of the case's requests.

    The default configuration is asked twice, because what differs from itself cannot be compared. Raises
    ``UnusableReference`` when it does, or when the ONNX file or the function has no answer; what ``deploy`` and
    ``prepare`` raise when the default configuration itself does not load, or answers wrongly.
    """
    model = case.candidate.model
    default = deployer.deploy(Candidate(model))
    verified = deployer.prepare(default, case)
    tolerances = allow(settings.tolerance)
    answers, origin = verified.answers, ""
    if settings.reference is not None:
        source, origin = _open(settings.reference, model)
        metadata = deployer.server.control.metadata(default.name)
        asked = {index: verified.requests.requests[index].inputs for index in answers}
        given = {index: _ask(source, origin, inputs, metadata, model) for index, inputs in asked.items()}
        if default.configuration.model_transaction_policy.decoupled:
            given = {index: number_responses([outputs]) for index, outputs in given.items()}
        answers = given
    _check_repeatable(deployer, case, Reference(_only(verified.answers, answers), tolerances))
    return Reference(answers, tolerances, origin)


def _only(answers: Answers, named: Answers) -> Answers:
    """Return ``answers`` without the outputs that ``named`` lacks."""
    return {
        index: {name: array for name, array in outputs.items() if name in named[index]}
        for index, outputs in answers.items()
    }


def _check_repeatable(deployer: Deployer, case: Case, before: Reference) -> None:
    default = deployer.deploy(Candidate(case.candidate.model))
    try:
        deployer.prepare(default, case, before)
    except WrongOutputs as error:
        raise UnusableReference(
            f"{error.model}: the default configuration does not answer the same request alike twice, so no outputs can "
            f"be compared: {error.wrong}",
            model=error.model,
            hint="Allow for it, as in tolerance={'FP32': (0.1, 0.1)}, relative and absolute; or let reference= be a "
            "function that returns only the outputs that can be compared.",
        ) from error


def _open(reference: Any, model: str) -> tuple[Function, str]:
    """Return the function that knows the outputs, and what it is called."""
    if isinstance(reference, str | os.PathLike):
        path = Path(reference)
        try:
            return OnnxReference(path), f"reference={path.name}"
        except UnusableReference as error:
            error.model = model
            raise
    return reference, f"reference={getattr(reference, '__name__', type(reference).__name__)}"


def _ask(
    source: Function, origin: str, inputs: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], model: str
) -> Outputs:
    """Return what ``source`` says of one request, checked. Raises ``UnusableReference``."""

    def refuse(problem: str, hint: str = _RETURN, details: tuple[str, ...] = ()) -> UnusableReference:
        return UnusableReference(f"{origin} {problem}", hint=hint, details=details, model=model)

    try:
        # Copies: the same arrays are sent to every candidate, whatever the function does to its own.
        made = source({name: array.copy() for name, array in inputs.items()})
    except UnusableReference as error:
        error.model = model
        raise
    except Exception as error:
        raise refuse(f"raised {type(error).__name__}: {error}", details=_where(error)) from error
    if not isinstance(made, Mapping) or not made:
        raise refuse(f"returned {_describe(made)}, and no outputs by name")
    declared = {entry["name"]: entry for entry in metadata["outputs"]}
    if isinstance(source, OnnxReference):
        made = {name: array for name, array in made.items() if name in declared}
        if not made:
            known = ", ".join(declared)
            told = f"has none of the model's outputs {known}: it has {', '.join(source.outputs)}"
            raise refuse(told, "Export it with the model's names, or let reference= be a function that runs it.")
    outputs = {}
    for name, value in made.items():
        if name not in declared:
            raise refuse(f"returned {name!r}, which is no output of the model", nearest(str(name), declared))
        try:
            outputs[name] = _as_array(value, declared[name]["datatype"])
        except TypeError as error:
            raise refuse(f"returned for {name!r} what cannot be compared: {error}") from error
    misfit = find_misfit(outputs, {"outputs": [declared[name] for name in outputs]})
    if misfit:
        raise refuse(f"does not fit the model: {misfit}", "The first dimension is the batch, if the model batches.")
    return outputs


def _as_array(value: Any, datatype: str) -> NDArray[Any]:
    """Return ``value`` as an array. Raises ``TypeError`` when it is none of ``datatype``."""
    import numpy as np

    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{_describe(value)} is no array, {error}") from error
    kinds = "OSU" if datatype == "BYTES" else "biuf"
    if array.dtype.kind not in kinds and array.dtype.name != "bfloat16":
        raise TypeError(f"an array of {array.dtype} where the model has {datatype}")
    return array


def _describe(value: Any) -> str:
    return "nothing" if value is None else f"an empty {type(value).__name__}" if value == {} else type(value).__name__


def _where(error: Exception) -> tuple[str, ...]:
    """Return the line of the user's that raised: the innermost one, of whatever it called."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return (f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}",) if frames else ()
