"""A place of a load: where one request at a time is in flight. Standard library only: the worker imports this."""

from __future__ import annotations

import enum

from pytest_triton.load.turns import Turn


class Phase(enum.Enum):
    CLOSED = enum.auto()
    CONNECTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    """A request is being sent or waits for its answer."""


class Place:
    """The request in flight here, and what became of those before it. Times in ns of ``time.monotonic_ns``."""

    __slots__ = (
        "assigned", "failing_since", "failures", "first", "phase", "responses", "resume", "scheduled", "sent", "turn",
    )  # fmt: skip

    def __init__(self) -> None:
        self.turn = Turn()
        self.phase = Phase.CLOSED
        self.assigned = False
        """A request began here that is not recorded yet."""
        self.scheduled = 0
        self.sent = 0
        self.first = 0
        self.responses: list[int] = []
        """When each response to a streamed request came."""
        self.failures = 0
        """Requests that failed here since the last that did not."""
        self.failing_since = 0
        self.resume = 0
        """When to go on here after a pause, 0 when there is none."""
