"""The session's side of a worker process: start it, talk to it, end it for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest_triton
from pytest_triton.errors import EngineError
from pytest_triton.load.channel import Buffer, Message, Unpacker, pack

# The packages' own __init__ would import numpy and tritonclient; the worker's modules need neither, so
# their packages are put there empty, with nothing but the place where their modules lie.
_BOOT = """
import importlib, sys, types
for name, path in (("pytest_triton", sys.argv.pop(1)), ("pytest_triton.load", sys.argv.pop(1))):
    package = types.ModuleType(name)
    package.__path__ = [path]
    sys.modules[name] = package
importlib.import_module(f"pytest_triton.load.{sys.argv.pop(1)}").main()
"""
_GRACE = 1.0


class WorkerProcess:
    """A process of its own that sends the load. ``close`` ends it, whatever state it is in."""

    def __init__(self, module: str = "worker", *, packages: bool = False) -> None:
        """Start ``main`` of ``module``. It has to be told what to send.

        A module that needs more than the standard library is one with ``packages``.
        """
        self._unpacker = Unpacker()
        with contextlib.ExitStack() as undo:
            try:
                self._errors = undo.enter_context(tempfile.TemporaryFile())
                self._socket, theirs = socket.socketpair()
                undo.enter_context(self._socket)
                with theirs:
                    arguments = (str(theirs.fileno()), str(os.getpid()))
                    command = command_for(module, *arguments, packages=packages)
                    self._process = _start(command, theirs.fileno(), self._errors)
            except OSError as error:
                raise EngineError(
                    f"the load generator's worker process cannot be started: {error}",
                    hint="It takes a process, two sockets and a temporary file (TMPDIR says where).",
                ) from error
            undo.pop_all()

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, message: Message, buffers: Sequence[Buffer] = (), *, timeout: float) -> None:
        """Write a message. Raises ``EngineError`` when the worker ended or does not take it in time."""
        self._socket.settimeout(timeout)
        try:
            for piece in pack(message, buffers):
                self._socket.sendall(piece)
        except OSError as error:
            raise self._failure(error) from error

    def receive(self, *, timeout: float) -> tuple[Message, list[memoryview]]:
        """Return the next message. Raises ``EngineError`` when the worker ended or says nothing in time."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                count = self._socket.recv_into(self._unpacker.space())
            except OSError as error:
                raise self._failure(error) from error
            if not count:
                raise self._failure(None)
            received = self._unpacker.advance(count)
            if received is not None:
                return received

    def close(self) -> None:
        """End the process and wait for its end: it goes by itself, or is terminated, or killed."""
        self._socket.close()
        for urge in (None, signal.SIGTERM, signal.SIGKILL):
            if urge is not None:
                self._process.send_signal(urge)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
                break
        self._errors.close()

    def _failure(self, error: OSError | None) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if isinstance(error, TimeoutError) else _GRACE)
        code = self._process.returncode
        if code is None:
            return EngineError("the load generator's worker process does not answer", hint="Is the machine overloaded?")
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        return EngineError(f"the load generator's worker process {how}", details=lines[-20:])


def command_for(module: str, *arguments: str, packages: bool = False) -> list[str]:
    """Return the command that runs ``main`` of a module of this package.

    Without ``packages`` it has the standard library only, which starts faster; with them what this interpreter imports.
    """
    package, here = Path(pytest_triton.__file__).parent, Path(__file__).parent
    options = ["-P"] if packages else ["-I", "-S"]
    return [sys.executable, *options, "-c", _BOOT, str(package), str(here), module, *arguments]


def _start(command: Sequence[str], control: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=[control],
    )
