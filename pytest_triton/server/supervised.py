"""The parent's side of the supervisor: start a server under it, see whether it lives, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_triton.server import supervisor
from pytest_triton.server.supervisor import kill_group, remove_blocks, remove_directories

SPARE = 5.0


class SupervisedProcess:
    """A server's process, which ends with all its descendants when this process does, however that happens.

    ``log`` receives its output (appended). ``shm_prefix`` begins the names of the shared-memory blocks it makes and
    ``directories`` are its own temporary ones, which may be made from now on: both are removed at its end.
    """

    def __init__(self, *, log: Path, shm_prefix: str, directories: Sequence[Path]) -> None:
        self._shm_prefix = shm_prefix
        self._directories = [str(directory) for directory in directories]
        self._said = b""
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", supervisor.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    start_new_session=True,
                    bufsize=0,
                )
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
            self._tell({"parent": os.getpid(), "shm_prefix": shm_prefix, "directories": self._directories})
        except BaseException:
            # Whoever made this does not have it yet and cannot end it.
            if hasattr(self, "_process"):
                self.end(grace=0)
            raise

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the server. May be called once."""
        self._tell({"command": list(command), "environment": dict(environment)})

    @property
    def pid(self) -> int | None:
        """The server's process id, None until it was started."""
        said = self._heard("started")
        return int(said) if said is not None else None

    @property
    def status(self) -> int | None:
        """How the server ended (negative for a signal), None while it runs. -9 when its supervisor was killed."""
        said = self._heard("ended")
        return int(said) if said is not None else self._process.poll()

    def end(self, *, grace: float) -> None:
        """Ask the server to end, kill it after ``grace`` seconds, and return when nothing of it is left.

        May be called again, above all when it was interrupted.
        """
        if self._process.poll() is None:
            self._write(f"stop {grace}\n".encode())
            try:
                self._process.wait(grace + SPARE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        pid = self.pid
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        if self._process.returncode != 0:
            # The supervisor did not come to its own cleaning up.
            if pid is not None:
                kill_group(pid)
            remove_directories(self._directories)
            remove_blocks(self._shm_prefix)

    def _tell(self, order: Mapping[str, Any]) -> None:
        self._write(json.dumps(order).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            # A raw pipe may take only a part of a long line.
            view = memoryview(line)
            while view:
                view = view[self._process.stdin.write(view) or 0 :]

    def _heard(self, word: str) -> str | None:
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            self._said += self._process.stdout.read() or b""
        for line in self._said.decode().splitlines():
            name, _, value = line.partition(" ")
            if name == word:
                return value
        return None


def describe_status(status: int) -> str:
    """Say in words how a process ended.

    >>> describe_status(-9)
    'killed by SIGKILL'
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}"
