"""Are the answers right while the load runs? What the worker finds new is decoded and compared here, once each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_triton.correctness import TOLERANCES, Tolerance, find_difference
from pytest_triton.load.base import Request
from pytest_triton.load.channel import Message
from pytest_triton.load.status import OK, WRONG

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_JSON = 1 << 20


class Validation:
    """Compares the different answers of several workers with what their requests expect."""

    def __init__(
        self,
        requests: Sequence[Request],
        protocol: str,
        workers: int,
        tolerances: Mapping[str, Tolerance] = TOLERANCES,
    ) -> None:
        self._requests = requests
        self._tolerances = tolerances
        self._decode = decode_http if protocol == "http" else decode_grpc
        self._wrong: list[list[str]] = [[] for _ in range(workers)]
        """For each answer of each worker what is wrong with it; empty where nothing is."""

    def __call__(
        self, worker: int, message: Message, columns: Mapping[str, NDArray[Any]], bodies: Sequence[memoryview]
    ) -> Mapping[int, str]:
        """Set the status of wrong answers in ``columns``; return what that status means, if there are any."""
        import numpy as np

        wrong = self._wrong[worker]
        wrong += [self._compare(index, body) for index, body in zip(message["answers"], bodies, strict=True)]
        numbers, status = columns["answer"], columns["status"]
        bad = np.flatnonzero([bool(text) for text in wrong])
        rows = np.isin(numbers, bad) & (status == OK)
        if not rows.any():
            return {}
        status[rows] = WRONG
        return {WRONG: f"wrong answer: {wrong[numbers[rows][0]]}"}

    def _compare(self, index: int, body: memoryview) -> str:
        expected = self._requests[index].expected
        if expected is None:
            return ""
        try:
            outputs = self._decode(bytes(body))
        except Exception as error:  # noqa: BLE001 - the decoders raise anything for bytes that are no answer
            return f"it cannot be decoded: {error}"
        missing = [name for name in expected if name not in outputs]
        if missing:
            return f"output {missing[0]!r} is missing"
        answered = {name: outputs[name] for name in expected}
        return find_difference(answered, expected, tolerances=self._tolerances) or ""


def decode_http(body: bytes) -> dict[str, NDArray[Any]]:
    """Return the outputs of an answer over HTTP, whose tensors are binary."""
    from tritonclient.http import InferResult

    _, end = json.JSONDecoder().raw_decode(body[:_LONGEST_JSON].decode("latin-1"))
    result = InferResult.from_response_body(body, header_length=end)
    return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}


def decode_grpc(body: bytes) -> dict[str, NDArray[Any]]:
    """Return the outputs of a ``ModelInferResponse``."""
    from tritonclient.grpc import InferResult, service_pb2

    response = service_pb2.ModelInferResponse.FromString(body)
    result = InferResult(response)
    return {output.name: result.as_numpy(output.name) for output in response.outputs}
