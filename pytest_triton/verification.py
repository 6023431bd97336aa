"""Are a model's answers right, before anything is timed? Requests are sent once, in the way the model takes them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_triton.correctness import TOLERANCES, Tolerance, find_difference, find_empty, find_misfit
from pytest_triton.errors import MeasurementError
from pytest_triton.load.base import Request, RequestSet
from pytest_triton.load.turns import name_sequence
from pytest_triton.server.base import Server

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    Outputs = Mapping[str, NDArray[Any]]

Answers = Mapping[int, "Outputs"]
"""Outputs by the index of their request. Of a decoupled model, the outputs of all responses: ``Y[0]``, ``Y[1]``, ..."""

AT_MOST = 16
"""How many requests are sent where not every one must be known."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the answers must be, as far as it is known, and how far they may be from it by data type.

    ``origin`` says where that comes from, as ``reference=model.onnx``; empty for the default configuration.
    """

    answers: Answers
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: TOLERANCES)
    origin: str = ""


class WrongOutputs(MeasurementError):
    """A configuration answers with other outputs than the reference. ``wrong`` says which, and how."""

    def __init__(self, problem: str, *, wrong: str = "", **context: Any) -> None:
        super().__init__(problem, **context)
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class Verified:
    """Requests whose answers were looked at. ``first_seconds`` is how long the first took; None if none was sent.

    ``beside`` has those for other models, by their names.
    """

    requests: RequestSet
    answers: Answers
    first_seconds: float | None
    beside: Mapping[str, RequestSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """How the answers of one deployment are looked at.

    ``name`` is what the model is called on the server, ``model`` what it is called to the user. ``sequences`` sends
    each stream as a sequence of its own. ``validate`` is the inputs': every request is sent unless it is ``none``, and
    those that do not say what they expect then expect what was answered. They may be as far from what they say as
    ``tolerances`` allow. ``reference`` is what they must be.
    """

    server: Server
    name: str
    model: str
    configuration: ModelConfig
    sequences: bool = False
    validate: Literal["none", "sample", "all"] = "none"
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: TOLERANCES)
    reference: Reference | None = None

    def verify(self, requests: RequestSet, *, at_most: int = AT_MOST) -> Verified:
        """Send the requests, or ``at_most`` of them where that is enough, and check every answer.

        A decoupled model is asked over gRPC; where the server has none, it is not asked. Raises ``RequestError`` when
        the model fails, ``WrongOutputs`` when an output is empty, has another shape than is declared, or differs from
        what is expected or from the reference.
        """
        metadata = self.server.control.metadata(self.name)
        answers: dict[int, Outputs] = {}
        first = None
        for play in self._plays(requests, at_most):
            for index, parameters in play:
                began = time.monotonic()
                responses = self._ask(requests.requests[index], parameters)
                if responses is None:
                    return Verified(requests, {}, None)
                first = time.monotonic() - began if first is None else first
                answers[index] = self._check(requests, index, responses, metadata)
        return Verified(self._complete(requests, answers), answers, first)

    @property
    def _decoupled(self) -> bool:
        return bool(self.configuration.model_transaction_policy.decoupled)

    def _plays(self, requests: RequestSet, at_most: int) -> Iterator[list[tuple[int, dict[str, str | int | bool]]]]:
        """Say which requests are sent, with which parameters: each alone, or the steps of a sequence."""
        limit = None if self.validate != "none" else at_most
        if not self.sequences:
            for index in _spread(len(requests.requests), limit):
                yield [(index, {})]
            return
        streams = [requests.streams[number] for number in _spread(len(requests.streams), limit)]
        steps = None if limit is None else max(1, limit // len(streams))
        for stream in streams:
            # Far beyond what a load counts up to, and within every type that a model may take it as.
            number = 2**30 + secrets.randbelow(2**30)
            known: str | int = name_sequence(number) if has_string_ids(self.configuration) else number
            played = stream[:steps]
            yield [
                (
                    index,
                    {
                        "sequence_id": known,
                        "sequence_start": place == 0,
                        "sequence_end": place == len(played) - 1,
                    },
                )
                for place, index in enumerate(played)
            ]

    def _ask(self, request: Request, parameters: Mapping[str, str | int | bool]) -> list[Outputs] | None:
        """Return the outputs of each response, or None when there is no way to ask."""
        control, together = self.server.control, {**request.parameters, **parameters}
        if not self._decoupled:
            return [control.infer(self.name, request.inputs, request.datatypes, parameters=together)]
        endpoints = self.server.endpoints
        if endpoints.grpc is None:
            return None
        from pytest_triton.server.streaming import infer_stream

        return [
            *infer_stream(
                endpoints,
                self.name,
                request.inputs,
                request.datatypes,
                parameters=together,
                timeout=control.request_timeout,
            )
        ]

    def _check(
        self, requests: RequestSet, index: int, responses: list[Outputs], metadata: Mapping[str, Any]
    ) -> Outputs:
        """Return all outputs of an answer. Raises ``WrongOutputs``."""
        request = requests.requests[index]
        datatypes = {entry["name"]: entry["datatype"] for entry in metadata["outputs"]}
        wrong = None
        for outputs in responses:
            # Of an empty tensor an empty answer may be the right one.
            if all(array.size for array in request.inputs.values()):
                wrong = wrong or find_empty(outputs)
            wrong = wrong or find_misfit(outputs, self._declared(outputs, metadata))
        answer = responses[0] if not self._decoupled else number_responses(responses)
        if self._decoupled:
            datatypes = {name: datatypes[name.rpartition("[")[0]] for name in answer}
        if request.expected is not None and not self._decoupled:
            wrong = wrong or find_difference(answer, request.expected, datatypes, self.tolerances)
        origin, known = "", self.reference
        if not wrong and known is not None and index in known.answers:
            expected = _align(known.answers[index], answer)
            wrong = find_difference(answer, expected, datatypes, known.tolerances)
            origin = f", going by {known.origin}" if known.origin else ""
        if wrong:
            count = len(requests.requests)
            wrong += f" (request {index + 1} of {count})" if count > 1 else ""
            raise WrongOutputs(
                f"{self.model}: wrong outputs{origin}: {wrong}",
                wrong=wrong,
                model=self.model,
                hint="A configuration that answers wrongly is disqualified however fast it is.",
            )
        return answer

    def _declared(self, outputs: Outputs, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the metadata that ``outputs`` must fit: a response of a stream need not have every output."""
        if not self._decoupled:
            return metadata
        return {"outputs": [entry for entry in metadata["outputs"] if entry["name"] in outputs]}

    def _complete(self, requests: RequestSet, answers: Answers) -> RequestSet:
        """Let requests expect what was answered, where the answer depends on nothing but the request."""
        if self.validate == "none" or self.sequences or self._decoupled:
            return requests
        completed = [
            replace(request, expected=answers[index]) if request.expected is None else request
            for index, request in enumerate(requests.requests)
        ]
        return replace(requests, requests=tuple(completed))


def takes_sequences(configuration: ModelConfig) -> bool:
    """Whether a model refuses a request that belongs to no sequence."""
    return bool(configuration.HasField("sequence_batching"))


def has_string_ids(configuration: ModelConfig) -> bool:
    """Whether a model's sequences are told apart by strings, not by numbers."""
    from tritonclient.grpc import model_config_pb2 as pb

    return any(
        control.kind == pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID and control.data_type == pb.TYPE_STRING
        for tensor in configuration.sequence_batching.control_input
        for control in tensor.control
    )


def _spread(count: int, limit: int | None) -> list[int]:
    """Pick ``limit`` of ``count`` indices, evenly, the first among them."""
    if limit is None or count <= limit:
        return list(range(count))
    return [place * count // limit for place in range(limit)]


def number_responses(responses: Sequence[Outputs]) -> Outputs:
    """Return all outputs of a decoupled model's responses under names of their own: ``Y[0]``, ``Y[1]``, ..."""
    return {f"{name}[{place}]": array for place, outputs in enumerate(responses) for name, array in outputs.items()}


def _align(expected: Outputs, answer: Outputs) -> Outputs:
    """Give the expected outputs the answer's batch dimension of 1, or take theirs away.

    A configuration that does not batch has none where another one has it.
    """
    aligned = {}
    for name, array in expected.items():
        shape = answer[name].shape if name in answer else array.shape
        same = shape in ((1, *array.shape), array.shape[1:] if array.shape[:1] == (1,) else array.shape)
        aligned[name] = array.reshape(shape) if same else array
    return aligned
