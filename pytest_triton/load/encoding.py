"""Requests as wire bytes, made once. tritonclient's own encoder makes the body; the head is ours."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from pytest_triton.errors import InputError
from pytest_triton.load.base import Request

_OURS = frozenset({"host", "content-length", "content-type", "inference-header-content-length", "connection"})


def encode_http(request: Request, *, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the whole HTTP/1.1 request for KServe's ``infer`` with binary tensors, to be sent as it is.

    ``host`` is ``host:port``; ``headers`` are sent in addition. All outputs come back binary. Raises
    ``InputError`` when an array does not fit its data type, or a header cannot be sent.
    """
    body, json_size = _encode_body(request)
    lines = [
        f"POST /v2/models/{quote(request.model, safe='')}/infer HTTP/1.1",
        f"Host: {host}",
        "Connection: keep-alive",
        "Content-Type: application/octet-stream" if json_size is not None else "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if json_size is not None:
        lines.append(f"Inference-Header-Content-Length: {json_size}")
    for name, value in headers.items():
        if name.lower() in _OURS:
            raise InputError(f"the header {name!r} cannot be set: the load generator sets it itself")
        if any(character in name + value for character in "\r\n\0") or ":" in name:
            raise InputError(f"the header {name!r} cannot be sent: a line break or colon where none may be")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _encode_body(request: Request) -> tuple[bytes, int | None]:
    # Imported here: it takes a fifth of a second and brings gevent.
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
    from tritonclient.utils import InferenceServerException

    inputs = []
    for name, array in request.inputs.items():
        tensor = InferInput(name, list(array.shape), request.datatypes[name])
        try:
            tensor.set_data_from_numpy(array, binary_data=True)
        except InferenceServerException as error:
            raise InputError(f"input {name!r} cannot be sent: {error.message()}", model=request.model) from error
        inputs.append(tensor)
    outputs = [InferRequestedOutput(name, binary_data=True) for name in request.outputs] or None
    body: bytes
    body, json_size = InferenceServerClient.generate_request_body(inputs, outputs=outputs)
    return body, json_size
