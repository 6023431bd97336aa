"""Worker processes between two loads: the next one need not wait for a process to start."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence

from pytest_triton.load.process import WorkerProcess

_FRESH = 2.5
"""Seconds that a worker is kept: by far less than it waits for another load before it ends by itself. What takes longer
hardly notices that a process starts.
"""


class IdleWorkers:
    """Workers whose load has ended in order. They end with the object, and with the interpreter."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, WorkerProcess]] = []
        self._owner = os.getpid()
        weakref.finalize(self, _close, self._kept)

    def keep(self, workers: Sequence[WorkerProcess]) -> None:
        """Have ``workers`` wait for another load."""
        now = time.monotonic()
        self._kept += [(now, worker) for worker in workers]

    def take(self) -> WorkerProcess | None:
        """Return one that can take another load, None when there is none; those that waited too long are ended."""
        if os.getpid() != self._owner:
            return None  # they belong to the process that this one was forked from
        while self._kept:
            since, worker = self._kept.pop()
            if worker.alive and time.monotonic() - since < _FRESH:
                return worker
            worker.close()
        return None


def _close(kept: list[tuple[float, WorkerProcess]]) -> None:
    while kept:
        _, worker = kept.pop()
        worker.close()
