"""A place of a load: its connection, the request in flight on it, and what was recorded.

Standard library only: the worker imports this.
"""

from __future__ import annotations

import enum
import errno
import json
import socket
from array import array
from typing import Any

from pytest_triton.load.http_parser import AnswerParser

NO_SOCKET = socket.socket()
NO_SOCKET.close()
NOTHING = memoryview(b"")


class Phase(enum.Enum):
    CLOSED = enum.auto()
    CONNECTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    """A request is being sent or waits for its answer."""


class Connection:
    """One of the loop's places: a socket and the request that is in flight on it."""

    __slots__ = (
        "assigned", "failing_since", "failures", "fd", "first", "parser", "phase", "recv_into", "resume", "send",
        "sent", "socket", "unsent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.socket = NO_SOCKET
        self.recv_into = NO_SOCKET.recv_into
        self.send = NO_SOCKET.send
        self.fd = -1
        self.phase = Phase.CLOSED
        self.parser = AnswerParser()
        self.unsent = NOTHING
        """What of the request is still to be sent."""
        self.assigned = False
        """A request began here that is not recorded yet."""
        self.sent = 0
        self.first = 0
        self.failures = 0
        """Requests that failed here since the last that did not."""
        self.failing_since = 0
        self.resume = 0
        """When to go on here after a pause, 0 when there is none."""


class Records:
    """What completed: times in ns of ``time.monotonic_ns``, one entry per request, in order of completion."""

    __slots__ = ("done", "first", "sent", "status")

    def __init__(self) -> None:
        self.sent = array("q")
        self.first = array("q")
        self.done = array("q")
        self.status = array("h")


def reach(host: str, port: int, seconds: float) -> tuple[socket.AddressFamily, Any]:
    """Find the address of ``host`` that answers: a name may mean several, and a server listen on one of them."""
    failure: OSError | None = None
    for family, _, _, _, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.settimeout(seconds)
            try:
                trial.connect(sockaddr)
            except OSError as error:
                failure = error
            else:
                return family, sockaddr
    raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")


def describe_error(parser: AnswerParser) -> str:
    """Say what an error answer says: Triton's ``{"error": ...}``, or the beginning of its body."""
    text = parser.kept.decode(errors="replace").strip()
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict) and isinstance(content.get("error"), str):
        text = content["error"]
    return f"HTTP {parser.status}: {text[:500]}" if text else f"HTTP {parser.status}"
