"""What a server says of a model, as far as an engine that does not encode its requests itself must know."""

from __future__ import annotations

import queue
import socket
from dataclasses import dataclass
from typing import Any

from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.session import CONNECTING


@dataclass(frozen=True, slots=True)
class ServedModel:
    """``batches``: its tensors have a batch dimension. ``final_marks``: an empty response ends every answer."""

    batches: bool
    final_marks: bool


def ask_model(plan: Plan) -> ServedModel:
    """Ask the server of ``plan`` for the model that it loads. Raises ``EngineError``."""
    import tritonclient.grpc
    import tritonclient.http
    from tritonclient.utils import InferenceServerException

    _reach(plan.address)
    model = plan.requests.requests[0].model
    try:
        if plan.load.protocol == "http":
            with tritonclient.http.InferenceServerClient(plan.address) as client:
                configuration = client.get_model_config(model)
        else:
            with tritonclient.grpc.InferenceServerClient(plan.address) as client:
                configuration = client.get_model_config(model, as_json=True)["config"]
        decoupled = configuration.get("model_transaction_policy", {}).get("decoupled", False)
        marks = plan.load.streaming and decoupled and _ends_with_mark(plan)
    except InferenceServerException as error:
        raise EngineError(f"the load cannot be prepared: {error.message()}", model=model) from error
    return ServedModel(batches=int(configuration.get("max_batch_size", 0)) > 0, final_marks=marks)


def _reach(address: str) -> None:
    """Raise ``EngineError`` when nobody listens at ``address``."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise EngineError(f"{address!r} is not an address", hint="Write host:port.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTING).close()
    except OSError as error:
        reason = f"no connection to {address}: {error.strerror or error}"
        raise EngineError(reason, hint="Does the server still run?") from error


def _ends_with_mark(plan: Plan) -> bool:
    """Send one request and say whether its last response carries no outputs."""
    import tritonclient.grpc

    request = plan.requests.requests[plan.requests.streams[0][0]]
    inputs, outputs = as_client_inputs(request, tritonclient.grpc)
    sequence: dict[str, Any] = {}
    if plan.load.sequence_length is not None:
        sequence = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(plan.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        try:
            client.async_stream_infer(
                request.model, inputs, outputs=outputs, enable_empty_final_response=True, **sequence
            )
            while True:
                result, error = answers.get(timeout=plan.timeout)
                if error is not None:
                    raise error
                response = result.get_response()
                if response.parameters["triton_final_response"].bool_param:
                    return not response.outputs
        except queue.Empty:
            raise EngineError(
                f"the load cannot be prepared: no answer within {plan.timeout:g} s", model=request.model
            ) from None
        finally:
            client.stop_stream(cancel_requests=True)
