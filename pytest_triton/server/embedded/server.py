"""The embedded server: the real Triton out of the ``nvidia-pytriton`` wheel, on this machine, without Docker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_triton.server.embedded.backend_directory import make_backend_directory
from pytest_triton.server.embedded.environment import make_environment
from pytest_triton.server.embedded.installation import Installation, find_installation
from pytest_triton.server.embedded.missing import advise_missing_backend, advise_missing_package
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.own import PYTHON, START_TIMEOUT
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.process import ChildServer, Launch


class EmbeddedServer(ChildServer):
    """The Triton of the ``nvidia-pytriton`` installed in ``python`` (the interpreter of pytest if None).

    Its models run in that interpreter, which needs NumPy 1; pytest's own may have any.
    """

    def __init__(
        self,
        repository: Path,
        *,
        output: Path,
        python: str | None = None,
        arguments: Sequence[str] = (),
        start_timeout: float = START_TIMEOUT,
        bind: str = LOOPBACK,
        gpus: GpuChoice | None = None,
    ) -> None:
        super().__init__(
            repository, output=output, arguments=arguments, start_timeout=start_timeout, bind=bind, gpus=gpus
        )
        self._python = python
        self._installation: Installation | None = None

    @property
    def kind(self) -> str:
        """``embedded``."""
        return "embedded"

    @property
    def description(self) -> str:
        """One line for the header."""
        found = self._installation
        if found is None:
            return "embedded Triton (not started)"
        version = ".".join(str(number) for number in found.interpreter.version)
        return f"embedded Triton {self.version} (nvidia-pytriton {found.pytriton_version}, Python {version})"

    @property
    def installation(self) -> Installation | None:
        """Where its parts lie, None before it was started."""
        return self._installation

    def _may_finalize(self, folder: Path, platform: str) -> bool:
        """Whether a loaded model may have something to do at its end: our own backends have not."""
        if platform == PYTHON:
            return super()._may_finalize(folder, platform)
        return any(folder.rglob("libtriton_*.so"))

    def _prepare(self, private: Path) -> Launch:
        installation = find_installation(self._python)
        self._installation = installation
        backends = private / "backends"
        make_backend_directory(backends, installation)
        return Launch(
            program=installation.tritonserver,
            environment=make_environment(
                private / "python", installation, keep_clean=(self._repository, self._aliases_directory)
            ),
            arguments={"backend-directory": str(backends), "cache-directory": str(installation.caches)},
        )

    def _advise(self, reason: str) -> str:
        advice = advise_missing_backend(reason)
        if not advice and self._installation is not None:
            advice = advise_missing_package(reason, self._installation.interpreter.path)
        return advice
