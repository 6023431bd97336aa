"""tritonclient's asyncio clients, for HTTP and for gRPC, and what can become of a request that they send.

The worker of the ``tritonclient`` engine imports this; it needs tritonclient, aiohttp and grpc.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import grpc
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from pytest_triton.load.base import TLS, Arrays, Plan, Request
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.status import LOST, MALFORMED, TIMED_OUT, UNREACHABLE
from pytest_triton.load.tls import make_context

LARGEST = 2**31 - 1
"""The largest gRPC message in bytes, as tritonclient has it where no other options are given."""


class Unreachable(Exception):
    """The server cannot be reached, for the reason that this says."""


class Unsendable(Exception):
    """The client cannot send this plan, for the reason that this says."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in the client's own objects, made once."""

    model: str
    inputs: list[Any]
    outputs: list[Any] | None
    parameters: dict[str, Any] | None
    expected: Arrays | None


@dataclass(slots=True)
class Answer:
    """What came back: when each response did, in ns of ``time.monotonic_ns``, and the client's result of the first.

    It is ``done`` with the last response, or with the mark after it that no other follows.
    """

    times: list[int] = field(default_factory=list)
    result: Any = None
    done: int = 0


class Failed(Exception):
    """A request failed: ``status`` as a trace has it, the reason in words, and what of an answer had come."""

    def __init__(self, status: int, reason: str, answer: Answer | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.answer = answer or Answer()


class Client(Protocol):
    """Sends requests to one server, any number of them at a time."""

    def prepare(self, request: Request) -> Prepared:
        """Put the request into the client's objects. Raises ``InputError``."""

    async def connect(self, count: int, patience: float) -> None:
        """Open ``count`` connections, as far as they are the client's to open. Raises ``Unreachable``."""

    async def send(self, request: Prepared, sequence: Mapping[str, Any]) -> Answer:
        """Send a request with the client's arguments for sequences, and wait for its answer. Raises ``Failed``."""

    async def close(self) -> None:
        """End all connections."""


class HttpClient:
    """``tritonclient.http.aio``: one client, one connection of its pool for each request in flight."""

    def __init__(self, plan: Plan) -> None:
        self._name = plan.address
        self._timeout = plan.timeout
        self._headers = dict(plan.headers)
        self._client = tritonclient.http.aio.InferenceServerClient(
            plan.address,
            conn_limit=0,
            conn_timeout=plan.timeout,
            ssl=plan.tls is not None,
            ssl_context=_context(plan.tls) if plan.tls else None,
        )

    def prepare(self, request: Request) -> Prepared:
        """Put the request into the client's objects. Raises ``InputError``."""
        return _prepare(request, tritonclient.http)

    async def connect(self, count: int, patience: float) -> None:
        """Ask ``count`` times at once whether the server is live, so that the pool holds as many connections."""
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*(self._client.is_server_live(headers=dict(self._headers)) for _ in range(count)))
        except TimeoutError:
            raise Unreachable(f"it did not answer within {patience:g} s") from None
        except aiohttp.ClientError as error:
            raise Unreachable(_words(error)) from error

    async def send(self, request: Prepared, sequence: Mapping[str, Any]) -> Answer:
        """Send a request and wait for its answer. Raises ``Failed``."""
        try:
            result = await self._client.infer(
                request.model,
                request.inputs,
                outputs=request.outputs,
                headers=dict(self._headers),  # the client adds its own to these
                parameters=request.parameters,
                **sequence,
            )
        except InferenceServerException as error:
            raise self._refused(error) from error
        except TimeoutError:
            raise Failed(TIMED_OUT, f"no answer from {self._name} within {self._timeout:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise Failed(UNREACHABLE, f"no connection to {self._name}: {_words(error)}") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Failed(LOST, f"the connection to {self._name} was lost: {_words(error)}") from error
        except (aiohttp.ClientError, ValueError, LookupError, TypeError) as error:
            # What the client makes of an answer that is none: not HTTP, not JSON, without a header that it reads.
            raise Failed(MALFORMED, f"{self._name} sent no proper answer: {_words(error)}") from error
        return whole(result)

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    def _refused(self, error: InferenceServerException) -> Failed:
        status = error.status()
        if status is None:
            return Failed(MALFORMED, f"{self._name} sent no proper answer: {error.message()}")
        return Failed(int(status), f"HTTP {status}: {error.message()[:500]}")


class GrpcClient:
    """``tritonclient.grpc.aio``: one client, whose channel carries all requests in flight."""

    def __init__(self, plan: Plan) -> None:
        self._name = plan.address
        self._timeout = plan.timeout
        self._headers = as_metadata(plan.headers)
        self._client = tritonclient.grpc.aio.InferenceServerClient(plan.address, **channel_arguments(plan.tls))

    def prepare(self, request: Request) -> Prepared:
        """Put the request into the client's objects. Raises ``InputError``."""
        return _prepare(request, tritonclient.grpc)

    async def connect(self, count: int, patience: float) -> None:
        """Open the channel by asking whether the server is live."""
        try:
            await self._client.is_server_live(headers=self._headers, client_timeout=patience)
        except InferenceServerException as error:
            check_reachable(error)

    async def send(self, request: Prepared, sequence: Mapping[str, Any]) -> Answer:
        """Send a request and wait for its answer. Raises ``Failed``."""
        try:
            result = await self._client.infer(
                request.model,
                request.inputs,
                outputs=request.outputs,
                client_timeout=self._timeout,
                headers=self._headers,
                parameters=request.parameters,
                **sequence,
            )
        except InferenceServerException as error:
            raise grpc_failure(error, self._name, self._timeout) from error
        return whole(result)

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()


def whole(result: Any) -> Answer:
    """Return an answer of one response, which has come now."""
    now = time.monotonic_ns()
    return Answer([now], result, now)


def grpc_failure(error: InferenceServerException, server: str, timeout: float) -> Failed:
    """Say what a gRPC error means: what happened on the wire has codes of our own, the rest its gRPC code."""
    message = error.message() or ""
    status = error.status()
    if status is None:
        return Failed(grpc.StatusCode.UNKNOWN.value[0], f"gRPC stream: {message[:500]}")
    code = grpc.StatusCode[status.removeprefix("StatusCode.")]
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failed(TIMED_OUT, f"no answer from {server} within {timeout:g} s")
    if code is grpc.StatusCode.UNAVAILABLE and _is_connecting(message):
        return Failed(UNREACHABLE, f"no connection to {server}: {message[:500]}")
    if code is grpc.StatusCode.UNAVAILABLE and any(word in message for word in ("Socket closed", "reset", "GOAWAY")):
        return Failed(LOST, f"the connection to {server} was lost: {message[:500]}")
    number: int = code.value[0]
    return Failed(number, f"gRPC {number} ({code.name}): {message[:500]}")


def check_reachable(error: InferenceServerException) -> None:
    """Raise ``Unreachable`` when the error says that; a server that answers with another one is there."""
    if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
        raise Unreachable(error.message()) from error


def _is_connecting(message: str) -> bool:
    return "failed to connect" in message or "DNS resolution failed" in message


def as_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as gRPC takes them: names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def channel_arguments(tls: TLS | None) -> dict[str, Any]:
    """Return the arguments of tritonclient's gRPC clients for ``tls``. Raises ``Unsendable``."""
    if tls is None:
        return {}
    if not tls.verify:
        raise Unsendable("gRPC cannot leave the server's certificate unverified; give its authority's instead")
    arguments = {
        "ssl": True,
        "root_certificates": tls.authorities or ssl.get_default_verify_paths().cafile,
        "private_key": tls.key or tls.certificate or None,
        "certificate_chain": tls.certificate or None,
    }
    if tls.server_name:
        lengths = [("grpc.max_send_message_length", LARGEST), ("grpc.max_receive_message_length", LARGEST)]
        arguments["channel_args"] = [*lengths, ("grpc.ssl_target_name_override", tls.server_name)]
    return arguments


def _context(tls: TLS) -> ssl.SSLContext:
    if tls.server_name:
        raise Unsendable("tritonclient cannot expect another server name over HTTP than the address's")
    return make_context(authorities=tls.authorities, certificate=tls.certificate, key=tls.key, verify=tls.verify)


def _prepare(request: Request, module: Any) -> Prepared:
    inputs, outputs = as_client_inputs(request, module)
    return Prepared(request.model, inputs, outputs, dict(request.parameters) or None, request.expected)


def _words(error: Exception) -> str:
    """Return the error in words: of a failed system call what the system says."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return str(error) or type(error).__name__
