"""One measurement at a time on a device, across processes: two that share it would measure each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_triton.errors import PytestTritonError


class LeaseError(PytestTritonError):
    """The device did not become free in time."""


@contextmanager
def lease(
    device: str = "cpu", *, timeout: float = 3600.0, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold ``device`` for the ``with`` block. The kernel frees it when the process ends, however it ends.

    ``waiting`` is told once, with who holds it, when the device is not free at once. Raises ``LeaseError`` after
    ``timeout`` seconds.
    """
    folder = Path(tempfile.gettempdir()) / f"pytest-triton-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{device}.lock"
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file.fileno(), path, device, timeout, waiting)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def _acquire(descriptor: int, path: Path, device: str, timeout: float, waiting: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + timeout
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8").strip() or "another process"
        if not told and waiting is not None:
            waiting(f"waiting for the {device}: {holder} measures on it")
            told = True
        if time.monotonic() > deadline:
            raise LeaseError(
                f"the {device} did not become free within {timeout:.0f} s: {holder} measures on it",
                hint="Two measurements on one device would measure each other; wait for the other run or end it.",
            )
        time.sleep(0.05)
