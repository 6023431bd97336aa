"""This project's own strictness: a run of its tests leaves no process and no shared-memory block behind."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

pytest_plugins = ["pytester"]

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "pytest-triton-"
"""Begins the name that a server and its blocks share; ten hexadecimal digits follow."""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when something of it is still there, after everyone else has cleaned up."""
    deadline = time.monotonic() + 5
    while (left := [*_servers(), *_orphaned_blocks()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for line in left:
            print(f"\nleft behind by the tests: {line}", file=sys.stderr)


def _servers() -> list[str]:
    """Describe the Triton processes and load generators below this process."""
    words = ("tritonserver", "triton_python_backend_stub", "pytest_triton")
    commands = _commands(psutil.Process().children(recursive=True))
    return [command[:150] for command in commands if any(word in command for word in words)]


def _orphaned_blocks() -> list[str]:
    """Name the shared-memory blocks of servers that are gone. Those of another run's servers are not ours to judge."""
    blocks = [path.name for path in _SHARED_MEMORY.iterdir() if path.name.startswith(_PREFIX)]
    alive = _commands(psutil.process_iter()) if blocks else []
    return [name for name in blocks if not any(name[: len(_PREFIX) + 10] in command for command in alive)]


def _commands(processes: Iterable[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return found
