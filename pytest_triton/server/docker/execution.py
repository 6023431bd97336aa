"""A command in a container that runs already: its output, and how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from pytest_triton.errors import ServerError
from pytest_triton.server.docker.engine import Engine, asking

_KNOWN_WITHIN = 10.0
_POLL = 0.02
_SIGNALLED, _UNKNOWN = 128, 255


class Execution:
    """A command, started; its output and its errors are collected as one text."""

    def __init__(self, engine: Engine, container: str, command: Sequence[str]) -> None:
        """Start it. Raises ``ServerError``."""
        self._engine = engine
        self._pieces: list[bytes] = []
        self._error: Exception | None = None
        with asking(engine, "run a command in the container"):
            created = engine.client.api.exec_create(container, list(command), environment={"LC_ALL": "C"})
        self._id = str(created["Id"])
        # Not the thread's own end: Python takes a thread for ended once waiting for it is interrupted.
        self._ended = threading.Event()
        threading.Thread(target=self._collect, name=f"{container}-command", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait for its end for so many seconds, and say whether it has ended. Raises ``ServerError``."""
        ended = self._ended.wait(seconds)
        if self._error is not None:
            with asking(self._engine, "run a command in the container"):
                raise self._error
        return ended

    @property
    def output(self) -> str:
        """What it has written so far."""
        return b"".join(self._pieces).decode(errors="replace")

    def find_status(self) -> int:
        """Return how it has ended, negative for a signal. Raises ``ServerError``."""
        deadline = time.monotonic() + _KNOWN_WITHIN
        with asking(self._engine, "tell how a command in the container has ended"):
            # Its output ends a moment before its end is noted down.
            while time.monotonic() < deadline:
                code = self._engine.client.api.exec_inspect(self._id)["ExitCode"]
                if code is not None:
                    return _SIGNALLED - code if _SIGNALLED < code < _UNKNOWN else int(code)
                time.sleep(_POLL)
        raise ServerError(
            f"the Docker engine at {self._engine.address} does not tell how a command in the container has ended"
        )

    def _collect(self) -> None:
        try:
            for piece in self._engine.client.api.exec_start(self._id, stream=True):
                self._pieces.append(piece)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            self._error = error
        finally:
            self._ended.set()
