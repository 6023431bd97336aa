"""What a server may leave behind, and must not: processes, shared-memory blocks, temporary directories."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """List a process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def wait_for_end(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all ``processes`` are gone; return those that are not. A zombie has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = [each for each in processes if _is_alive(each)]
        if not left:
            return []
        time.sleep(0.05)
    return left


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def name_of(pid: int) -> str:
    """Return the name of a server of ours, which begins the names of all that it makes."""
    return next(word.removeprefix("--id=") for word in psutil.Process(pid).cmdline() if word.startswith("--id="))


def things_of(name: str) -> list[Path]:
    """List the shared-memory blocks and the temporary directories of the server of that name."""
    places = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    return [thing for place in places for thing in place.glob(f"{name}*")]
