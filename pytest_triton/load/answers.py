"""The different answers to each request, so that each is compared once. Standard library only: the worker imports this.

Most models answer the same request with the same bytes. The worker only tells whether it has seen an answer before; the
session, which has NumPy, decodes those that are new and says which are wrong.
"""

from __future__ import annotations

import random

UNSEEN = -1
"""Not looked at, or no room to remember it."""

_MOST = 4096
_MOST_BYTES = 1 << 28


class Answers:
    """Number the different answers that were looked at, one in ``every``.

    It is drawn which: requests in rotation would meet a fixed step at the same places of the rotation only.
    """

    def __init__(self, requests: int, every: int) -> None:
        self.every = every
        self._draw = random.Random(0).randrange
        self._until = self._draw(1, 2 * every)
        self._numbers: list[dict[bytes, int]] = [{} for _ in range(requests)]
        self._count = 0
        self._bytes = 0
        self._new: list[tuple[int, bytes]] = []

    def wanted(self) -> bool:
        """Say whether to look at the next answer."""
        self._until -= 1
        if self._until:
            return False
        self._until = self._draw(1, 2 * self.every)
        return True

    def number(self, request: int, body: bytes) -> int:
        """Return the number of this answer to this request; ``UNSEEN`` when too many differ."""
        numbers = self._numbers[request]
        number = numbers.get(body)
        if number is not None:
            return number
        if self._count >= _MOST or self._bytes + len(body) > _MOST_BYTES:
            return UNSEEN
        number = numbers[body] = self._count
        self._count += 1
        self._bytes += len(body)
        self._new.append((request, body))
        return number

    def take_new(self) -> list[tuple[int, bytes]]:
        """Return request and body of each answer that was new since the last call, in order of their numbers."""
        new, self._new = self._new, []
        return new
