"""Which request goes out next: in rotation, or as the next of a place's sequence. Standard library only.

A request of a sequence is put together from pieces that were encoded once, around its correlation id: for each of the
four combinations of start and end flags a beginning and an end, and the tensors, which all four share.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

START, END = 1, 2
"""Flags of a sequence's first and last request; their combinations number the variants of its pieces."""

VARIANTS = 4
PIECES = 2 * VARIANTS + 1


def _decimal(number: int) -> bytes:
    return b"%d" % number


def varint(number: int) -> bytes:
    """Encode as protobuf does: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


ID_FORMS: dict[str, Callable[[int], bytes]] = {"decimal": _decimal, "varint": varint}
FIRST_ID, LAST_ID = 1_100_000_000, 4_200_000_000
"""Within these a correlation id has ten digits, five bytes as a varint, and fits 32 bits without a sign."""


def name_sequence(number: int) -> str:
    """Return a correlation id that is a string, of the 128 bytes that Triton reserves for it.

    It does not say how many of them it used, so that the Python backend reads the rest of a shorter one as further
    elements, and refuses the request.
    """
    return f"sequence-{number}-".ljust(128, "x")


class Turn:
    """Where a place is: its request in flight, and the rest of its sequence."""

    __slots__ = ("left", "position", "request", "sequence", "stream")

    def __init__(self) -> None:
        self.request = 0
        self.sequence = 0
        self.stream: Sequence[int] = ()
        self.position = 0
        self.left = 0
        """How many requests of the sequence are still to come."""


class Rotation:
    """Requests one after the other, and then anew: what goes out does not depend on the place."""

    def __init__(self, payloads: Sequence[bytes], streams: Sequence[Sequence[int]], *, part: int, parts: int) -> None:
        order = [index for stream in streams for index in stream]
        ahead = part * len(order) // parts
        self.largest = max(map(len, payloads))
        self.take: Callable[[], tuple[bytes, int]] = itertools.cycle(
            [(payloads[index], index) for index in order[ahead:] + order[:ahead]]
        ).__next__

    def next(self, turn: Turn) -> bytes:
        """Return the next request's bytes; ``turn`` notes which it is."""
        payload, turn.request = self.take()
        return payload

    def is_open(self, turn: Turn) -> bool:
        """No sequence is ever under way."""
        return False


class Sequences:
    """Sequences of requests, one at a time in each place, each with an id of its own."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        streams: Sequence[Sequence[int]],
        *,
        id_form: str,
        first_id: int,
        length: Sequence[int],
        seed: int,
        part: int,
        parts: int,
    ) -> None:
        self._befores = [pieces[at : at + VARIANTS] for at in range(0, len(pieces), PIECES)]
        self._afters = [pieces[at + VARIANTS : at + 2 * VARIANTS] for at in range(0, len(pieces), PIECES)]
        self._tensors = pieces[PIECES - 1 :: PIECES]
        self.largest = max(sum(map(len, pieces[at : at + PIECES])) for at in range(0, len(pieces), PIECES))
        """No request is longer, in bytes."""
        ahead = part * len(streams) // parts
        self._streams = itertools.cycle([*streams[ahead:], *streams[:ahead]])
        self._ids = itertools.count(first_id + part, parts)
        self._encode_id = ID_FORMS[id_form]
        self._draw = random.Random(f"{seed} {part}").randint
        self._shortest, self._longest = length
        self.ending = False
        """Every sequence ends with its next request."""

    def next(self, turn: Turn) -> bytes:
        """Return the bytes of the next request of the place's sequence, or of a new one."""
        flags = 0
        if not turn.left:
            flags = START
            turn.sequence, turn.stream, turn.position = next(self._ids), next(self._streams), 0
            turn.left = self._draw(self._shortest, self._longest)
        turn.left = 0 if self.ending else turn.left - 1
        if not turn.left:
            flags |= END
        turn.request = index = turn.stream[turn.position % len(turn.stream)]
        turn.position += 1
        return b"".join(
            (
                self._befores[index][flags],
                self._encode_id(turn.sequence),
                self._afters[index][flags],
                self._tensors[index],
            )
        )

    def is_open(self, turn: Turn) -> bool:
        """Whether the place's sequence has begun and not ended."""
        return turn.left > 0


def make_turns(setup: dict[str, Any], payloads: Sequence[bytes]) -> Rotation | Sequences:
    """Read what the session says about requests: their bytes, ``streams``, ``part``, ``parts``, ``sequences``."""
    streams, part, parts = setup["streams"], setup["part"], setup["parts"]
    sequences = setup.get("sequences")
    if sequences is None:
        return Rotation(payloads, streams, part=part, parts=parts)
    return Sequences(payloads, streams, part=part, parts=parts, **sequences)
