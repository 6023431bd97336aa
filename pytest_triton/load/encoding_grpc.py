"""gRPC requests as wire bytes, made once: tritonclient's encoder makes the messages, ``hpack`` the header blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpack import Encoder, NeverIndexedHeaderTuple
from hpack.table import table_entry_size

from pytest_triton.errors import InputError
from pytest_triton.load.base import Request
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.encoding import PLACEHOLDER, check_header, client_options
from pytest_triton.load.http2 import DEFAULT_FRAME, DEFAULT_TABLE
from pytest_triton.load.turns import VARIANTS, varint

_SERVICE = "/inference.GRPCInferenceService/"
_EMPTY_TABLE, _FULL_TABLE = b"\x20", b"\x20\x3f\xe1\x1f"
"""HPACK's announcement of a table of no bytes; of one that is emptied, then of 4096."""
_OURS = frozenset({"te", "content-type", "user-agent", "grpc-timeout", "grpc-encoding", "host", "connection"})


def encode_grpc(request: Request, *, streaming: bool) -> bytes:
    """Return the ``ModelInferRequest``, without gRPC's prefix. Raises ``InputError``."""
    head, tensors = _encode(request, streaming=streaming)
    return head + tensors


def encode_grpc_sequence(request: Request, *, streaming: bool, string_ids: bool) -> Iterator[bytes]:
    """Yield the pieces of a request of a sequence, for ``turns.Sequences``. Raises ``InputError``."""
    written = str(PLACEHOLDER).encode() if string_ids else varint(PLACEHOLDER)
    befores, afters, tensors = [], [], b""
    for flags in range(VARIANTS):
        head, tensors = _encode(request, streaming=streaming, flags=flags, string_ids=string_ids)
        at = head.index(written, head.index(b"sequence_id"))
        befores.append(head[:at])
        afters.append(head[at + len(written) :])
    yield from befores
    yield from afters
    yield tensors


def _encode(
    request: Request, *, streaming: bool, flags: int | None = None, string_ids: bool = False
) -> tuple[bytes, bytes]:
    """Return the message in two parts, of which the second holds the tensors: a message is its fields in a row."""
    # Imported here: gRPC takes a tenth of a second.
    import tritonclient.grpc as client
    from tritonclient.grpc import service_pb2
    from tritonclient.grpc._utils import _get_inference_request
    from tritonclient.utils import InferenceServerException

    inputs, outputs = as_client_inputs(request, client)
    options: dict[str, Any] = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    options.update(client_options(request, flags, string_ids))
    try:
        message = _get_inference_request(
            model_name=request.model, inputs=inputs, model_version="", request_id="", outputs=outputs, priority=0,
            timeout=None, **options,
        )  # fmt: skip
    except InferenceServerException as error:
        raise InputError(f"the request cannot be sent: {error.message()}", model=request.model) from error
    if streaming:
        # Else nothing would tell the last response of a decoupled model from one that is late.
        message.parameters["triton_enable_empty_final_response"].bool_param = True
    tensors = service_pb2.ModelInferRequest(raw_input_contents=message.raw_input_contents).SerializeToString()
    del message.raw_input_contents[:]
    return message.SerializeToString(), tensors


def encode_headers(address: str, *, secure: bool, headers: Mapping[str, str], streaming: bool) -> tuple[bytes, ...]:
    """Return a request's header block in three forms: see ``GrpcConnection``. Raises ``InputError``."""
    fields = [
        (":method", "POST"),
        (":scheme", "https" if secure else "http"),
        (":path", _SERVICE + ("ModelStreamInfer" if streaming else "ModelInfer")),
        (":authority", address),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "pytest-triton"),
    ]
    for name, value in headers.items():
        check_header(name, value)
        if name.lower() in _OURS:
            raise InputError(f"the header {name!r} cannot be set: the load generator sets it itself")
        fields.append((name.lower(), value))
    # The peer must be told when its table has changed its size: with the first block that is sent afterwards (RFC 7541,
    # 4.2). An empty table costs one byte in each.
    plain = _EMPTY_TABLE + Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields])
    if len(plain) > DEFAULT_FRAME:
        raise InputError(f"the headers take {len(plain)} bytes; over gRPC {DEFAULT_FRAME} can be sent")
    if sum(table_entry_size(name.encode(), value.encode()) for name, value in fields) > DEFAULT_TABLE:
        # They would drive each other out of the table, and an index mean another header each time.
        return plain, plain, plain
    encoder = Encoder()
    return plain, _FULL_TABLE + encoder.encode(fields), encoder.encode(fields)
