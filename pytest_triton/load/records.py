"""What completed, one entry per request, in order of completion. Standard library only: the worker imports this."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_triton.load.place import Place

_ALWAYS = {"sent": "q", "first": "q", "done": "q", "status": "h"}
_WHERE_ASKED = {"scheduled": "q", "request": "i", "sequence": "q", "responses": "i", "response_at": "q", "answer": "i"}
_UNSEEN = -1
"""An answer that was not looked at."""


class Records:
    """Columns of numbers; times in ns of ``time.monotonic_ns``.

    Columns beside the four that every load needs are kept where they are asked for: ``scheduled`` (open loop),
    ``request`` (more than one), ``sequence``, ``responses`` with ``response_at`` (streams), ``answer`` (which of the
    different answers it was).
    """

    def __init__(self, asked: Collection[str] = ()) -> None:
        kept = _ALWAYS | {name: code for name, code in _WHERE_ASKED.items() if name in asked}
        self._columns = {name: array(code) for name, code in kept.items()}
        self.sent, self.first = self._columns["sent"], self._columns["first"]
        self.done, self.status = self._columns["done"], self._columns["status"]
        self.scheduled = self._columns.get("scheduled")
        self.request = self._columns.get("request")
        self.sequence = self._columns.get("sequence")
        self.responses = self._columns.get("responses")
        self.response_at = self._columns.get("response_at")
        self.answer = self._columns.get("answer")

    def add(self, place: Place, status: int, now: int, answer: int = _UNSEEN) -> None:
        """Write down that the request of ``place`` ended."""
        self.sent.append(place.sent)
        self.first.append(place.first or now)
        self.done.append(now)
        self.status.append(status)
        if self.scheduled is not None:
            self.scheduled.append(place.scheduled)
        if self.request is not None:
            self.request.append(place.turn.request)
        if self.sequence is not None:
            self.sequence.append(place.turn.sequence)
        if self.responses is not None and self.response_at is not None:
            self.responses.append(len(place.responses))
            self.response_at.extend(place.responses)
        if self.answer is not None:
            self.answer.append(answer)

    def take(self) -> tuple[list[tuple[str, str]], list[bytes]]:
        """Return the columns' names and type codes, and their contents; begin anew.

        The arrays stay the same objects, so that whoever appends to them goes on.
        """
        names = [(name, str(column.typecode)) for name, column in self._columns.items()]
        contents = [column.tobytes() for column in self._columns.values()]
        for column in self._columns.values():
            del column[:]
        return names, contents
