"""A ``tritonserver`` that is installed on this machine, as in the official container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_triton.errors import ServerUnavailable
from pytest_triton.server.process import START_TIMEOUT, ChildServer, Launch

PROGRAM = "tritonserver"


def find_tritonserver(program: str = PROGRAM) -> Path | None:
    """Return the path of ``tritonserver``, from PATH unless ``program`` is a path itself; None if there is none."""
    found = shutil.which(program)
    return Path(found).resolve() if found is not None else None


class LocalServer(ChildServer):
    """The ``tritonserver`` on PATH, or the one at ``program``, with the backends that it was installed with."""

    def __init__(
        self,
        repository: Path,
        *,
        output: Path,
        program: str = PROGRAM,
        arguments: Sequence[str] = (),
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        super().__init__(repository, output=output, arguments=arguments, start_timeout=start_timeout)
        self._program = program

    @property
    def kind(self) -> str:
        """``local``."""
        return "local"

    @property
    def description(self) -> str:
        """One line for the header."""
        return f"local Triton {self.version} ({find_tritonserver(self._program) or self._program})"

    def _prepare(self, private: Path) -> Launch:
        program = find_tritonserver(self._program)
        if program is None:
            raise ServerUnavailable(
                f"there is no program {self._program!r} on PATH",
                hint="Run inside the official container, or use --triton-server=embedded or a server's address.",
            )
        return Launch(program=program, environment=dict(os.environ), arguments={})
