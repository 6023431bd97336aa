"""Requests as wire bytes, made once: tritonclient's own encoders make the bodies, what is around them is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pytest_triton.errors import InputError
from pytest_triton.load.base import Request
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.turns import END, START, VARIANTS, name_sequence

_OURS = frozenset({"host", "content-length", "content-type", "inference-header-content-length", "connection"})
PLACEHOLDER = 1_987_654_321
"""Stands for a correlation id where requests of sequences are encoded."""


def encode_http(request: Request, *, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the whole HTTP/1.1 request for KServe's ``infer`` with binary tensors, to be sent as it is.

    ``host`` is ``host:port``; ``headers`` are sent in addition. All outputs come back binary. Raises
    ``InputError`` when an array does not fit its data type, or a header cannot be sent.
    """
    body, json_size = _encode_body(request)
    return _encode_head(request, len(body), json_size, host=host, headers=headers) + body


def encode_http_sequence(
    request: Request, *, host: str, headers: Mapping[str, str], string_ids: bool
) -> Iterator[bytes]:
    """Yield the pieces of a request of a sequence, for ``turns.Sequences``. Raises as ``encode_http`` does."""
    befores, afters, tensors = [], [], b""
    for flags in range(VARIANTS):
        body, json_size = _encode_body(request, flags=flags, string_ids=string_ids)
        json_size = len(body) if json_size is None else json_size
        at = body.index(str(PLACEHOLDER).encode(), body.index(b'"sequence_id"'), json_size)
        head = _encode_head(request, len(body), json_size, host=host, headers=headers)
        befores.append(head + body[:at])
        afters.append(body[at + len(str(PLACEHOLDER)) : json_size])
        tensors = body[json_size:]
    yield from befores
    yield from afters
    yield tensors


def _encode_head(request: Request, size: int, json_size: int | None, *, host: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"POST /v2/models/{quote(request.model, safe='')}/infer HTTP/1.1",
        f"Host: {host}",
        "Connection: keep-alive",
        "Content-Type: application/octet-stream" if json_size is not None else "Content-Type: application/json",
        f"Content-Length: {size}",
    ]
    if json_size is not None:
        lines.append(f"Inference-Header-Content-Length: {json_size}")
    for name, value in headers.items():
        if name.lower() in _OURS:
            raise InputError(f"the header {name!r} cannot be set: the load generator sets it itself")
        check_header(name, value)
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def check_header(name: str, value: str) -> None:
    """Raise ``InputError`` when a header would break out of its line."""
    if any(character in name + value for character in "\r\n\0") or ":" in name:
        raise InputError(f"the header {name!r} cannot be sent: a line break or colon where none may be")


def _encode_body(request: Request, *, flags: int | None = None, string_ids: bool = False) -> tuple[bytes, int | None]:
    # Imported here: it takes a fifth of a second and brings gevent.
    import tritonclient.http as client
    from tritonclient.utils import InferenceServerException

    inputs, outputs = as_client_inputs(request, client)
    try:
        body: bytes
        body, json_size = client.InferenceServerClient.generate_request_body(
            inputs, outputs=outputs, **client_options(request, flags, string_ids)
        )
    except InferenceServerException as error:
        raise InputError(f"the request cannot be sent: {error.message()}", model=request.model) from error
    return body, json_size


def client_options(request: Request, flags: int | None, string_ids: bool) -> dict[str, Any]:
    """Say of which sequence a request is, and what else goes along with it, in the client's words."""
    options: dict[str, Any] = {"parameters": dict(request.parameters) or None}
    if flags is not None:
        options["sequence_id"] = name_sequence(PLACEHOLDER) if string_ids else PLACEHOLDER
        options["sequence_start"], options["sequence_end"] = bool(flags & START), bool(flags & END)
    return options
