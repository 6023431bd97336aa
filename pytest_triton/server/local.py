"""A ``tritonserver`` that is installed on this machine, as in the official container."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_triton.errors import OptionError, ServerUnavailable
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.interpreter import without_bytecode
from pytest_triton.server.own import START_TIMEOUT
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.process import ChildServer, Launch

PROGRAM = "tritonserver"
OPTION = "--triton-server-path"
_BESIDE = {"backend-directory": "backends", "cache-directory": "caches", "repoagent-directory": "repoagents"}
"""What is installed beside ``bin``; ``tritonserver`` itself looks below /opt/tritonserver wherever it lies."""
_BACKENDS = "/opt/tritonserver/backends"
_LIBRARIES = re.compile(r"error while loading shared libraries|version `(?:GLIBC|GLIBCXX|CXXABI)_\S+' not found")
_LOG = re.compile(r"[IWEF]\d{4} ")


def find_tritonserver(program: str = PROGRAM) -> Path | None:
    """Return the path of ``tritonserver``, from PATH unless ``program`` is a path itself; None if there is none."""
    found = shutil.which(program)
    return Path(found).resolve() if found is not None else None


def check_program(path: Path) -> None:
    """Raise ``OptionError`` unless ``path``, which the user named as the program, is a file that can be run."""
    if path.is_dir():
        inside = next((each for each in (path / "bin" / PROGRAM, path / PROGRAM) if each.is_file()), None)
        raise OptionError(
            f"{OPTION}={path} is a folder", hint=f"Name the program in it: {inside or path / 'bin' / PROGRAM}."
        )
    if not path.exists():
        raise OptionError(f"{OPTION}={path}: there is no such file", hint="Name the program tritonserver.")
    if not os.access(path, os.X_OK):
        raise OptionError(
            f"{OPTION}={path} cannot be executed", hint=f"Is it the program, and not its archive? chmod +x {path}"
        )


def installed_beside(program: Path) -> dict[str, str]:
    """Return the arguments by which ``program`` finds the backends that it was installed with."""
    prefix = program.parent.parent
    return {name: str(prefix / folder) for name, folder in _BESIDE.items() if (prefix / folder).is_dir()}


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
        bind: str = LOOPBACK,
        gpus: GpuChoice | None = None,
    ) -> None:
        super().__init__(
            repository, output=output, arguments=arguments, start_timeout=start_timeout, bind=bind, gpus=gpus
        )
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
        if os.sep in self._program:
            check_program(Path(self._program))
        program = find_tritonserver(self._program)
        if program is None:
            raise ServerUnavailable(
                f"there is no program {self._program!r} on PATH",
                hint=f"Run inside the official container, name the program with {OPTION}=PATH, or use "
                "--triton-server=embedded or a server's address.",
            )
        arguments = installed_beside(program)
        environment = without_bytecode(
            os.environ,
            Path(arguments.get("backend-directory", _BACKENDS)) / "python" / "triton_python_backend_stub",
            private / "python",
            keep_clean=(self._repository, self._aliases_directory),
        )
        return Launch(program=program, environment=environment, arguments=arguments)

    def _advise_start(self, lines: Sequence[str]) -> str:
        if any(_LIBRARIES.search(line) for line in lines):
            return "It finds its shared libraries by LD_LIBRARY_PATH: run where it was installed, as in the container."
        if any("Exec format error" in line for line in lines):
            return "It was built for another kind of machine."
        if not any(_LOG.match(line) for line in lines):
            return f"Is {find_tritonserver(self._program)} the program tritonserver? It does not write what that does."
        return ""
