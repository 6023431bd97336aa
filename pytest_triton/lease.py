"""One measurement at a time on a device, across processes: two that share it would measure each other.

A device is a GPU, by its UUID, or the CPU. Who measures on GPUs has them for itself and shares the CPU with those that
measure on other GPUs; who measures on the CPU has that for itself. The locks lie where every user of the machine finds
them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_triton.errors import PytestTritonError

CPU = "cpu"
WAIT = 3600.0
"""Seconds that a device is waited for unless something else is said."""
FOLDER = "pytest-triton-leases"
"""The folder with the locks of all users, in the one for temporary files."""
_LOCKS = Path("/proc/locks")
_POLL = 0.02
_SOON = 1.0
"""Seconds that are waited without a word: the measurements of other workers, and of other runs, are short."""


class LeaseError(PytestTritonError):
    """The device did not become free in time."""


@contextmanager
def lease(
    gpus: Mapping[str, str] | None = None,
    *,
    timeout: float = WAIT,
    waiting: Callable[[str], None] | None = None,
    folder: Path | None = None,
    purpose: str = "",
) -> Iterator[None]:
    """Hold ``gpus`` (UUID -> what a message calls it), or the CPU without any, for the ``with`` block.

    The kernel frees them when the process ends, however it ends. Whoever waits is next: a run of many measurements does
    not keep another one out until its end. ``waiting`` is told once for each device that is not free soon, with who
    holds it; others are told that it is this process, and its ``purpose``. The locks lie in ``folder``, by default one
    for all users. Raises ``LeaseError`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        place = _prepare(folder or Path(tempfile.gettempdir()) / FOLDER)
        # All take them in one order, the CPU last, so that no two ever wait for each other.
        for uuid, name in sorted((gpus or {}).items()):
            stack.enter_context(_Device(place, uuid, name, deadline, waiting, purpose).hold())
        stack.enter_context(_Device(place, CPU, "the CPU", deadline, waiting, purpose).hold(shared=bool(gpus)))
        yield


def is_busy(*, folder: Path | None = None) -> bool:
    """Tell whether anybody measures on this machine just now, or waits to; the CPU is part of all of it."""
    try:
        with lease(timeout=0.0, folder=folder):
            return False
    except LeaseError:
        return True


@dataclass(slots=True)
class _Device:
    """The two locks of a device, in ``folder``: the turn and the device itself."""

    folder: Path
    key: str
    name: str
    deadline: float
    tell: Callable[[str], None] | None
    purpose: str
    _lock: int = field(default=-1, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    @contextmanager
    def hold(self, *, shared: bool = False) -> Iterator[None]:
        with ExitStack() as stack:
            # An older driver's name of a slice has slashes in it.
            key = self.key.replace("/", "_")
            turn, self._lock = (stack.enter_context(_open(self.folder / f"{key}.{part}")) for part in _PARTS)
            # The turn is taken first and given back at once, so that who just had the device queues behind who waits.
            self._acquire(turn, fcntl.LOCK_EX)
            self._acquire(self._lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            with suppress(OSError):
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, f"{os.getpid()} {self.purpose}".encode(), 0)
            fcntl.flock(turn, fcntl.LOCK_UN)
            yield

    def _acquire(self, descriptor: int, kind: int) -> None:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            if self.tell is not None and time.monotonic() - self._began > _SOON:
                self.tell(f"waiting for {self.name}: {self._holder()} measures on it")
                self.tell = None
            if time.monotonic() > self.deadline:
                raise LeaseError(
                    f"{self.name} did not become free in time: {self._holder()} measures on it",
                    hint="Two measurements on one device would measure each other; wait for the other run or end it.",
                )
            time.sleep(_POLL)

    def _holder(self) -> str:
        """Say who holds the device: the kernel knows the process, and what lies in the file what it does."""
        told, _, purpose = os.pread(self._lock, 4096, 0).decode("utf-8", "replace").partition(" ")
        holders = _holders(os.fstat(self._lock).st_ino) or [told]
        first, more = holders[0], len(holders) - 1
        if told in holders:
            first = f"{told} ({purpose})" if purpose else told
        return f"process {first}{f' and {more} more' if more else ''}" if first else "another process"


_PARTS = ("turn", "lock")


def _holders(inode: int) -> list[str]:
    """List the processes that hold a lock on a file; none where that cannot be seen, as in another container."""
    try:
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines if "->" not in line]
    held = [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode)]
    return [pid for pid in held if pid != "0"]


def _prepare(folder: Path) -> Path:
    """Make the folder, for every user if it is new. Raises ``LeaseError``."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o1777)
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder
        reason = "it is no folder"
    except OSError as error:
        reason = error.strerror or str(error)
    raise _unusable(folder, reason)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Open a lock file, which may be another user's; nothing that another file is behind."""
    try:
        descriptor = _descriptor(path)
    except OSError as error:
        raise _unusable(path.parent, error.strerror or str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _unusable(path.parent, f"{path.name} is no file of its own")
        yield descriptor
    finally:
        os.close(descriptor)


def _descriptor(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Making a file that may be there is refused where another user made it.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
        os.fchmod(descriptor, 0o666)
        return descriptor
    except FileExistsError:
        pass
    try:
        return os.open(path, os.O_RDWR | flags)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)


def _unusable(folder: Path, reason: str) -> LeaseError:
    return LeaseError(
        f"cannot take turns in {folder}: {reason}",
        hint="Free some space, or name another folder with --triton-lease-folder.",
    )
