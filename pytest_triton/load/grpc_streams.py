"""What comes on the streams of a gRPC load: answers, responses that follow each other, every failure.

Standard library and ``hpack`` only: this runs in the worker.
"""

from __future__ import annotations

import time

from pytest_triton.load import http2
from pytest_triton.load.answers import UNSEEN
from pytest_triton.load.grpc_answer import Block, describe_status
from pytest_triton.load.grpc_channels import GrpcChannels, GrpcPlace
from pytest_triton.load.http2 import BrokenFrames
from pytest_triton.load.place import Place
from pytest_triton.load.responses import read_response
from pytest_triton.load.status import LOST, MALFORMED, OK

_GOOD = 200
_UNKNOWN = 2
"""gRPC's code for an error without one, as those of a stream's single requests are."""


class GrpcStreams(GrpcChannels):
    """Takes what the connections say of their streams."""

    def on_headers(self, place: GrpcPlace, block: Block, ended: bool, at: int) -> None:
        """Take a header block: an answer's beginning, or its end."""
        if not self._streaming:
            place.first = place.first or at
        if 100 <= block.http_status < _GOOD and not ended:
            return  # the answer follows
        if block.http_status not in (0, _GOOD):
            self._fail(place, block.http_status, f"HTTP {block.http_status} instead of an answer over gRPC")
        elif ended or block.status > 0:
            self._finish(place, block, at)

    def on_data(self, place: GrpcPlace, data: bytes, ended: bool, at: int) -> None:
        """Take a piece of the messages."""
        if not self._streaming:
            place.first = place.first or at
        try:
            messages = place.reader.feed(data)
        except BrokenFrames as error:
            self._fail(place, MALFORMED, f"{self._name} sent no proper answer over gRPC: {error}")
            return
        connection, stream = place.connection, place.stream
        for message in messages:
            if self._streaming:
                self._take_response(place, message, at)
                if place.connection is not connection or place.stream != stream:
                    return  # the stream was given up, and what else came on it
            elif place.last is not None:
                self._fail(place, MALFORMED, f"{self._name} sent two answers to one request")
                return
            else:
                place.last = message
        if ended and place.connection is not None:
            self._fail(place, MALFORMED, f"{self._name} ended a stream without a status")

    def on_reset(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server gave up a stream."""
        self._leave(place)
        self._fail(place, LOST, f"{self._name} reset the stream: {http2.name_error(code)}")

    def on_refused(self, place: GrpcPlace, code: int) -> None:
        """Take note that the server goes away before it has looked at a request."""
        self._leave(place)
        self._fail(place, LOST, f"{self._name} went away before it took the request: {http2.name_error(code)}")

    def _fail(self, place: Place, status: int, reason: str, *, keep: bool = False) -> None:
        """Fail the place's request; a stream that had nothing to do is only left: the next request opens another."""
        if place.assigned:
            super()._fail(place, status, reason, keep=keep)
        elif not keep:
            self._abandon(place)

    def _leave(self, place: GrpcPlace) -> None:
        """The stream has ended: nothing more is to be said on it."""
        connection, place.connection = place.connection, None
        if connection is not None:
            connection.forget(place, reset=bool(place.unsent) or self._streaming)
            if self._waiting[place.channel]:
                self._send_waiting(place.channel)

    def _finish(self, place: GrpcPlace, block: Block, now: int) -> None:
        """A stream ended with a status."""
        message, received = place.last, place.reader.received
        self._leave(place)
        if block.status > 0:
            self._fail(place, block.status, describe_status(block), keep=True)
        elif block.status < 0:
            self._fail(place, MALFORMED, f"{self._name} ended a stream without a status", keep=True)
        elif self._streaming:
            self._fail(place, LOST, f"{self._name} ended the stream before the last response", keep=True)
        elif message is None or not received or place.reader.in_message:
            self._fail(place, MALFORMED, f"{self._name} answered OK with an empty or broken message", keep=True)
        else:
            answer = UNSEEN
            if self.answers is not None and place.reader.wanted:
                answer = self.answers.number(place.turn.request, message)
            self._succeed(place, now, received, answer)

    def _succeed(self, place: GrpcPlace, now: int, received: int, answer: int) -> None:
        place.failures = 0
        self.received += received
        self._end(place, OK, now, answer)
        self._go_on(place, now)

    def _take_response(self, place: GrpcPlace, message: bytes, now: int) -> None:
        """Take one response of a stream; a request ends with the one that says it is the last."""
        if not place.assigned:
            return  # nobody waits for it any more
        if place.sent > now:
            self._fail(place, MALFORMED, f"{self._name} sent a response before the request")
            return
        try:
            response = read_response(message)
        except ValueError as error:
            self._fail(place, MALFORMED, f"{self._name} sent no proper response: {error}")
            return
        if not (response.error or response.content):
            self._fail(place, MALFORMED, f"{self._name} sent an empty response")
            return
        # Responses that come in one read are taken one after the other, each at its own time.
        now = time.monotonic_ns()
        place.received += len(message)
        if response.error:
            self._fail(place, _UNKNOWN, f"gRPC stream: {response.error[:500]}")
            return
        if not response.empty:
            place.first = place.first or now
            place.responses.append(now)
            if self.answers is not None and len(place.responses) == 1:
                place.last = response.content
        if response.final:
            answer = UNSEEN
            if self.answers is not None and place.last is not None and self.answers.wanted():
                answer = self.answers.number(place.turn.request, place.last)
            self._succeed(place, now, place.received, answer)
