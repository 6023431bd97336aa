"""tritonclient's gRPC stream: every request may have any number of responses.

The asyncio client cannot ask for the mark that tells a decoupled model's last response, so that this is the client with
callbacks, as Triton's own examples for decoupled models have it. Its callbacks come in threads of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from pytest_triton.load.base import Plan, Request
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.status import TIMED_OUT
from pytest_triton.load.tritonclient_clients import (
    Answer,
    Failed,
    Prepared,
    as_metadata,
    channel_arguments,
    check_reachable,
    grpc_failure,
)

_FINAL = "triton_final_response"


class StreamClient:
    """Streams, each with one request in flight; as many as there are requests at a time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._arguments = channel_arguments(plan.tls)
        self._idle: list[_Stream] = []

    def prepare(self, request: Request) -> Prepared:
        """Put the request into the client's objects. Raises ``InputError``."""
        inputs, outputs = as_client_inputs(request, tritonclient.grpc)
        return Prepared(request.model, inputs, outputs, dict(request.parameters) or None, request.expected)

    async def connect(self, count: int, patience: float) -> None:
        """Open ``count`` streams. Raises ``Unreachable``."""
        self._idle = [_Stream(self._plan, self._arguments) for _ in range(count)]
        await asyncio.to_thread(self._idle[0].ask, patience)
        for stream in self._idle:
            stream.start()

    async def send(self, request: Prepared, sequence: Mapping[str, Any]) -> Answer:
        """Send a request and wait for the last of its responses. Raises ``Failed``."""
        stream = self._idle.pop() if self._idle else _Stream(self._plan, self._arguments)
        try:
            return await stream.send(request, sequence)
        finally:
            self._idle.append(stream)

    async def close(self) -> None:
        """End all streams."""
        for stream in self._idle:
            stream.stop()


class _Stream:
    """One stream with at most one request in flight. Ended by an error, it begins anew with the next request."""

    def __init__(self, plan: Plan, arguments: Mapping[str, Any]) -> None:
        self._name = plan.address
        self._timeout = plan.timeout
        self._headers = as_metadata(plan.headers)
        self._client = tritonclient.grpc.InferenceServerClient(plan.address, **arguments)
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._round = 0
        self._alive = False
        self._answer = Answer()
        self._end: asyncio.Future[None] | None = None

    def ask(self, patience: float) -> None:
        """Raise ``Unreachable`` when the server cannot be reached."""
        try:
            self._client.is_server_live(headers=self._headers, client_timeout=patience)
        except InferenceServerException as error:
            check_reachable(error)

    def start(self) -> None:
        """Open the stream."""
        self._round += 1
        self._client.start_stream(partial(self._called, self._round), headers=self._headers)
        self._alive = True

    def stop(self) -> None:
        """Close the stream; what is in flight is cancelled."""
        self._alive = False
        self._client.stop_stream(cancel_requests=True)

    async def send(self, request: Prepared, sequence: Mapping[str, Any]) -> Answer:
        """Send a request and wait for the last of its responses. Raises ``Failed`` with what had come."""
        if not self._alive:
            if self._round:
                await asyncio.to_thread(self.stop)
            self.start()
        self._number += 1
        self._answer = Answer()
        self._end = self._loop.create_future()
        try:
            self._client.async_stream_infer(
                request.model,
                request.inputs,
                outputs=request.outputs,
                request_id=str(self._number),
                enable_empty_final_response=True,
                parameters=request.parameters,
                **sequence,
            )
            async with asyncio.timeout(self._timeout):
                await self._end
        except TimeoutError:
            self._alive = False
            reason = f"no answer from {self._name} within {self._timeout:g} s"
            raise Failed(TIMED_OUT, reason, self._answer) from None
        except InferenceServerException as error:
            self._alive = self._alive and error.status() is None
            failure = grpc_failure(error, self._name, self._timeout)
            raise Failed(failure.status, failure.reason, self._answer) from error
        finally:
            self._end = None
        return self._answer

    def _called(self, number: int, result: Any, error: InferenceServerException | None) -> None:
        """Take a response over from the stream's thread."""
        self._loop.call_soon_threadsafe(self._receive, number, time.monotonic_ns(), result, error)

    def _receive(self, number: int, now: int, result: Any, error: InferenceServerException | None) -> None:
        if number != self._round:
            return  # from a stream that is given up
        if error is not None:
            self._alive = self._alive and error.status() is None
            if self._end is not None and not self._end.done():
                self._end.set_exception(error)
            return
        response = result.get_response()
        if response.id != str(self._number) or self._end is None or self._end.done():
            return  # what follows the error that ended a request before
        final = response.parameters[_FINAL].bool_param if _FINAL in response.parameters else True
        if response.outputs or not final:
            self._answer.times.append(now)
            self._answer.result = self._answer.result or result
        if final:
            self._answer.done = now
            self._end.set_result(None)
