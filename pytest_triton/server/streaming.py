"""Inference over gRPC's bidirectional stream, which is the only way to ask a decoupled model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import RequestError
from pytest_triton.server.tensors import decode_tensor, encode_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def infer_stream(
    address: str,
    model: str,
    inputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
    *,
    parameters: Mapping[str, str | int | bool],
    timeout: float,
) -> list[dict[str, NDArray[np.generic]]]:
    """Send one request to ``address`` (``host:port``) and return the outputs of every response, in their order.

    A response without outputs, as the last one may be, is left out. Raises ``RequestError`` with Triton's message, or
    when the responses have not ended after ``timeout`` seconds.
    """
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    answers = []
    request = _encode(model, inputs, datatypes, parameters)
    with grpc.insecure_channel(address, options=_UNLIMITED) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            for response in stub.ModelStreamInfer(iter([request]), timeout=timeout):
                if response.error_message:
                    raise RequestError(
                        f"{model} answered a request with an error: {response.error_message}", model=model
                    )
                if response.infer_response.outputs:
                    answers.append(_decode(response.infer_response, model))
        except grpc.RpcError as error:
            raise RequestError(
                f"{model} did not answer over gRPC: {error.details()}",
                model=model,
                hint=f"Responses must end within {timeout:g} s; look at the server's log.",
            ) from error
    return answers


def _encode(
    model: str,
    inputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
    parameters: Mapping[str, str | int | bool],
) -> Any:
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        request.raw_input_contents.append(encode_tensor(name, array, datatypes[name], model))
    for name, value in parameters.items():
        parameter = request.parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int):
            parameter.int64_param = value
        else:
            parameter.string_param = value
    return request


def _decode(response: Any, model: str) -> dict[str, NDArray[np.generic]]:
    decoded = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        described = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        decoded[output.name] = decode_tensor(described, data, model)
    return decoded
