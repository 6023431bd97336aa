"""What a server may leave behind, and must not: processes and shared-memory blocks."""

from __future__ import annotations

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
        left = [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        if not left:
            return []
        time.sleep(0.05)
    return left


def blocks_of(prefix: str) -> list[str]:
    """List the shared-memory blocks whose names begin with ``prefix``."""
    return [block.name for block in Path("/dev/shm").iterdir() if block.name.startswith(prefix)]
