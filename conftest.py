"""This project's own strictness: a run of its tests leaves no process and no shared-memory block behind.

What was there when the run began is not its own: an earlier run that was killed has left it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Container, Iterable
from pathlib import Path

import psutil
import pytest

from pytest_triton.owner import Owner
from pytest_triton.server.supervisor import MARK

pytest_plugins = ["pytester", "docker_engine"]

_EARLIER = pytest.StashKey[frozenset[str]]()

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "pytest-triton-"
"""Begins the name that a server and its blocks share; ten hexadecimal digits follow."""


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Note which blocks are there already."""
    session.config.stash[_EARLIER] = frozenset(_blocks())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when something of it is still there, after everyone else has cleaned up."""
    earlier = session.config.stash.get(_EARLIER, frozenset())
    deadline = time.monotonic() + 5
    while (left := [*_servers(), *_orphaned_blocks(earlier)]) and time.monotonic() < deadline:
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


def _blocks() -> list[str]:
    """Name the shared-memory blocks of servers and load generators, of any run."""
    return [path.name for path in _SHARED_MEMORY.iterdir() if path.name.startswith(_PREFIX)]


def _orphaned_blocks(earlier: Container[str]) -> list[str]:
    """Name the blocks of servers that are gone, without the ``earlier`` ones and those of another run's servers."""
    blocks = [name for name in _blocks() if name not in earlier]
    alive = _commands(psutil.process_iter()) if blocks else []
    alive += [name for name in blocks if name.endswith(MARK) and _is_another_run_s(_SHARED_MEMORY / name)]
    return [name for name in blocks if not any(name[: len(_PREFIX) + 10] in command for command in alive)]


def _is_another_run_s(mark: Path) -> bool:
    """Say whether a process that is not this one owns a server, by its mark, and still runs."""
    try:
        owner = Owner.read(mark.read_text(encoding="utf-8", errors="replace").partition("\n")[0])
    except OSError:
        return False
    return owner is not None and not owner.is_gone() and owner.pid != os.getpid()


def _commands(processes: Iterable[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return found
