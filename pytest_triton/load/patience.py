"""How long a place pauses after a failure, and when a load has become hopeless.

Standard library only: the worker imports this.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_triton.load.place import Place
from pytest_triton.load.status import UNREACHABLE

_MS = 1_000_000
FIRST_PAUSE = 5 * _MS
_LONGEST_PAUSE = 1000 * _MS

_PATIENCE = 100
"""After how many error answers in a row a place begins to pause between its requests."""

_HOPELESS_AFTER = 2000 * _MS
_HOPELESS_FAILURES = 3
_HOPELESS_TOTAL = 10


def pause_after(status: int, failures: int) -> int:
    """Return how long to pause, in ns, after ``failures`` in a row, the last of them with ``status``.

    The first failure may be an accident. Connecting again at once where nobody listens is a busy loop.
    """
    free = {UNREACHABLE: 0}.get(status, 1 if status < 0 else _PATIENCE)
    beyond = failures - free
    pause = min(FIRST_PAUSE << min(beyond - 1, 20), _LONGEST_PAUSE) if beyond > 0 else 0
    return max(pause, FIRST_PAUSE) if status == UNREACHABLE else pause


def is_hopeless(places: Sequence[Place], now: int) -> bool:
    """Say whether nothing has succeeded for a while on any place, though all have tried."""
    since = now - _HOPELESS_AFTER
    if sum(place.failures for place in places) < _HOPELESS_TOTAL:
        return False
    return all(p.failures >= _HOPELESS_FAILURES and p.failing_since <= since for p in places)
