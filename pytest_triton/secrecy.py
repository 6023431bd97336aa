"""Values of headers, which may be secrets, kept out of what a server or a proxy says about a request."""

from __future__ import annotations

from collections.abc import Mapping

MASK = "***"
_SHORTEST = 4
"""What is shorter is part of many a word, and no secret."""


def mask(text: str, headers: Mapping[str, str]) -> str:
    """Return ``text`` without the values of ``headers``: the whole of each, and its last word, as after ``Bearer``.

    >>> mask("no such user: hunter2", {"Authorization": "Bearer hunter2"})
    'no such user: ***'
    """
    values = {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, MASK)
    return text
