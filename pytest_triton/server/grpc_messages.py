"""Inference requests and their answers as gRPC has them, and the channel they go over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.server.tensors import decode_tensor, encode_tensor

if TYPE_CHECKING:
    import grpc
    import numpy as np
    from numpy.typing import NDArray

    from pytest_triton.load.base import TLS

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # The server is asked directly, as over HTTP.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, tls: TLS | None) -> grpc.Channel:
    """Return a channel to ``host:port``, over TLS if there is ``tls``. Raises ``OSError`` for a file it cannot read."""
    import grpc

    options = list(_OPTIONS)
    if tls is None:
        return grpc.insecure_channel(address, options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    paths = (tls.authorities, tls.key or tls.certificate, tls.certificate)
    credentials = grpc.ssl_channel_credentials(*(Path(path).read_bytes() if path else None for path in paths))
    return grpc.secure_channel(address, credentials, options)


def as_metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return ``headers`` as gRPC sends them: their names in lower case."""
    return tuple((name.lower(), value) for name, value in headers.items())


def encode_infer(
    model: str,
    inputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
    parameters: Mapping[str, str | int | bool],
) -> Any:
    """Return a ``ModelInferRequest`` that asks for all outputs. Raises ``InputError``."""
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


def decode_infer(response: Any, model: str) -> dict[str, NDArray[np.generic]]:
    """Return the outputs of a ``ModelInferResponse``. Raises ``RequestError``."""
    decoded = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        described = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        decoded[output.name] = decode_tensor(described, data, model)
    return decoded
