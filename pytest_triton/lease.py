"""One measurement at a time on a device, across processes: two that share it would measure each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.errors import PytestTritonError


class LeaseError(PytestTritonError):
    """The device did not become free in time."""


@contextmanager
def lease(
    device: str = "cpu",
    *,
    timeout: float = 3600.0,
    waiting: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> Iterator[None]:
    """Hold ``device`` for the ``with`` block. The kernel frees it when the process ends, however it ends.

    Whoever waits is next: a run of many measurements does not keep another one out until its end. ``waiting`` is told
    once, with who holds it, when the device is not free at once. The locks lie in ``folder``, by default one for each
    user. Raises ``LeaseError`` after ``timeout`` seconds.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"pytest-triton-{os.getuid()}"
    wait = _Wait(device, folder / f"{device}.lock", time.monotonic() + timeout, waiting)
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            turn, lock = (
                stack.enter_context((folder / f"{device}.{name}").open("a+", encoding="utf-8"))
                for name in ("turn", "lock")
            )
        except OSError as error:
            raise LeaseError(
                f"cannot lock the {device} in {folder}: {error.strerror}",
                hint="Free some space, or name another folder in the environment variable TMPDIR.",
            ) from error
        # The turn is taken first and given back at once, so that who just had the device queues behind who waits.
        wait.acquire(turn.fileno())
        wait.acquire(lock.fileno())
        fcntl.flock(turn.fileno(), fcntl.LOCK_UN)
        with suppress(OSError):
            lock.truncate(0)
            lock.write(f"process {os.getpid()}")
            lock.flush()
        yield


def is_held(device: str = "cpu", *, folder: Path | None = None) -> bool:
    """Tell whether anybody measures on ``device``, or waits for it, just now."""
    try:
        with lease(device, timeout=0.0, folder=folder):
            return False
    except LeaseError:
        return True


@dataclass(slots=True)
class _Wait:
    """Waiting for one device, through both of its locks."""

    device: str
    path: Path
    deadline: float
    tell: Callable[[str], None] | None

    def acquire(self, descriptor: int) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self.path.read_text(encoding="utf-8").strip() or "another process"
            if self.tell is not None:
                self.tell(f"waiting for the {self.device}: {holder} measures on it")
                self.tell = None
            if time.monotonic() > self.deadline:
                raise LeaseError(
                    f"the {self.device} did not become free in time: {holder} measures on it",
                    hint="Two measurements on one device would measure each other; wait for the other run or end it.",
                )
            time.sleep(0.02)
