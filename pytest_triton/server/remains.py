"""What a run that was killed has left of its servers, found by who has made it and removed.

The supervisor ends a server when the run that started it is gone, but may be killed as well. So a server's owner is
written down before there is anything of it: in a block of shared memory that bears its name, and in its directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_triton.owner import Owner, is_abandoned
from pytest_triton.server.supervisor import MARK, SHARED_MEMORY, remove_blocks, remove_directories

PREFIX = "pytest-triton-"
END_WITHIN = 3.0
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{10}}")
_LONGEST = 8192


def mark(name: str, directory: Path) -> None:
    """Write down that this process owns the server ``name``, whose ``directory`` is yet to be made."""
    # Some servers work without shared memory, where there is none or no room in it.
    with contextlib.suppress(OSError):
        _write(Path(SHARED_MEMORY) / f"{name}{MARK}", directory)


def make_directory(directory: Path) -> None:
    """Make a server's directory, with the same in it: it may outlive the blocks. Raises ``OSError``."""
    directory.mkdir(mode=0o700)
    _write(directory / MARK, directory)


def remove_remains() -> None:
    """End the servers of runs that are gone, and remove their blocks and directories; nothing else, ever.

    What their load generators shared with servers that go on is removed as well: its names are signed.
    """
    for name, directory in dict(_abandoned()).items():
        _end_processes(name)
        remove_directories([directory] if directory else [])
        remove_blocks(name)
    for name in _entries(SHARED_MEMORY):
        if is_abandoned(name):
            remove_blocks(name)


def _abandoned() -> Iterator[tuple[str, str]]:
    """Yield the names of servers whose owners are gone, and the directory of each, "" where there is none of ours."""
    for name, path in _marks():
        owner, _, directory = _read(path).partition("\n")
        known = Owner.read(owner)
        if known is not None and known.is_gone():
            yield name, _own_directory(name, directory.rstrip("\n"))


def _marks() -> Iterator[tuple[str, Path]]:
    for entry in _entries(tempfile.gettempdir()):
        if _NAME.fullmatch(entry):
            yield entry, Path(tempfile.gettempdir(), entry, MARK)
    for entry in _entries(SHARED_MEMORY):
        if entry.endswith(MARK) and _NAME.fullmatch(entry.removesuffix(MARK)):
            yield entry.removesuffix(MARK), Path(SHARED_MEMORY, entry)


def _entries(place: str) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208
    except OSError:
        return []


def _own_directory(name: str, directory: str) -> str:
    """Return the directory that a mark names, if it is one of that server's and of this user's, else ""."""
    try:
        found = Path(directory).lstat()
    except (OSError, ValueError):
        return ""
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and Path(directory).name == name
    return directory if ours else ""


def _write(path: Path, directory: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123
        file.write(f"{Owner.current()}\n".encode() + os.fsencode(directory) + b"\n")


def _read(path: Path) -> str:
    """Return what a mark says; "" where it is not a plain file of this user's own."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:  # noqa: PTH123
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return ""
        return os.fsdecode(file.read(_LONGEST))


def _end_processes(name: str) -> None:
    """Kill this user's processes that bear the name of a server on their command line, and wait for their end."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline() if process.uids().real == os.getuid() else []
            if any(word == f"--id={name}" or word.startswith(name) for word in words):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=END_WITHIN)
