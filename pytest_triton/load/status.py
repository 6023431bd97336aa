"""The codes of a trace for what happened on the wire. Standard library only: the worker imports this."""

from __future__ import annotations

OK = 0
"""A complete, successful answer."""

UNREACHABLE = -1
"""No connection could be made: refused, no route, no such host."""

LOST = -2
"""The connection ended before the answer did."""

TIMED_OUT = -3
"""No complete answer within the plan's time-out."""

MALFORMED = -4
"""What came back is not an answer: not HTTP, a wrong length, a success with nothing in it."""

WRONG = -5
"""A successful answer with other outputs than were expected."""
