"""Inference over gRPC's bidirectional stream, which is the only way to ask a decoupled model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_triton.errors import RequestError
from pytest_triton.secrecy import mask
from pytest_triton.server.base import Endpoints
from pytest_triton.server.grpc_messages import as_metadata, decode_infer, encode_infer, open_channel
from pytest_triton.server.refusal import advise_process, clean_reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def infer_stream(
    endpoints: Endpoints,
    model: str,
    inputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
    *,
    parameters: Mapping[str, str | int | bool],
    timeout: float,
) -> list[dict[str, NDArray[np.generic]]]:
    """Send one request and return the outputs of every response, in their order.

    A response without outputs, as the last one may be, is left out. Raises ``RequestError`` with Triton's message, or
    when the responses have not ended after ``timeout`` seconds; ``ServerUnavailable`` where there is no gRPC endpoint.
    """
    import grpc
    from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

    request = encode_infer(model, inputs, datatypes, parameters)
    answers = []
    with open_channel(endpoints.address("grpc"), endpoints.tls) as channel:
        responses = GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter([request]), timeout=timeout, metadata=as_metadata(endpoints.headers)
        )
        try:
            for response in responses:
                if response.error_message:
                    reason = clean_reason(response.error_message)
                    raise RequestError(
                        f"{model} answered a request with an error: {reason}", model=model, hint=advise_process(reason)
                    )
                if response.infer_response.outputs:
                    answers.append(decode_infer(response.infer_response, model))
        except grpc.RpcError as error:
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            reason = (
                f"its responses did not end within {timeout:g} s"
                if late
                else mask(error.details() or "", endpoints.headers)
            )
            raise RequestError(
                f"{model} cannot be asked over gRPC: {reason}",
                model=model,
                hint="Each request needs a final response; look at the server's log.",
            ) from error
    return answers
