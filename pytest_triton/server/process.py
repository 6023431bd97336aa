"""What the servers that are child processes of ours have in common: their place, their process, what they use."""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.errors import ServerStartError
from pytest_triton.observation import ResourceUsage
from pytest_triton.server.arguments import LaunchArguments
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.own import START_TIMEOUT, OwnServer, Site
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.remains import make_directory, mark, remove_remains
from pytest_triton.server.supervised import SupervisedProcess
from pytest_triton.server.supervisor import remove_blocks, remove_directories
from pytest_triton.server.usage import measure_usage


@dataclass(frozen=True, slots=True)
class Launch:
    """How a kind of server starts ``tritonserver``. ``arguments`` maps names without dashes to values."""

    program: Path
    environment: Mapping[str, str]
    arguments: Mapping[str, str]


class ChildServer(OwnServer):
    """A ``tritonserver`` that is a child of ours, in a temporary directory of its own."""

    def __init__(
        self,
        repository: Path,
        *,
        output: Path,
        arguments: Sequence[str] = (),
        start_timeout: float = START_TIMEOUT,
        bind: str = LOOPBACK,
        gpus: GpuChoice | None = None,
    ) -> None:
        super().__init__(
            repository, output=output, arguments=arguments, start_timeout=start_timeout, bind=bind, gpus=gpus
        )
        self._private: Path | None = None
        self._launch: Launch | None = None

    @abstractmethod
    def _prepare(self, private: Path) -> Launch:
        """Find out how to start, in ``private``, an empty directory of this server's own.

        Raises ``ServerUnavailable`` when it cannot be started here.
        """

    @property
    def pid(self) -> int | None:
        """The process id of ``tritonserver`` while it runs."""
        return self._running.pid if isinstance(self._running, SupervisedProcess) else None

    def _remove_remains(self) -> None:
        remove_remains()

    def _settle(self, name: str) -> Site:
        private = Path(tempfile.gettempdir()) / name
        # Noted, and looked after, before it is made: nothing that ends us now leaves it behind.
        self._private = private
        try:
            self._running = SupervisedProcess(log=self._output_file, shm_prefix=name, directories=[private])
        except OSError as error:
            raise ServerStartError(f"no process for the {self.kind} server can be started: {error}") from error
        mark(name, private)
        make_directory(private)
        self._aliases_directory.mkdir()
        self._launch = self._prepare(private)
        return Site((self._repository, self._aliases_directory), self._launch.arguments)

    def _run(self, name: str, launched: LaunchArguments) -> None:
        assert self._launch is not None
        assert self._gpus is not None
        assert isinstance(self._running, SupervisedProcess)
        words = [str(self._launch.program), *launched.words]
        self._running.run(words, {**self._launch.environment, **self._gpus.environment})

    def _clear(self) -> None:
        if self._private is not None:
            remove_directories([str(self._private)])
            remove_blocks(self._private.name)
            self._private = None

    def _link(self, model: str, alias: str) -> None:
        (self._aliases_directory / alias).symlink_to(self._repository / model, target_is_directory=True)

    def _measure(self) -> ResourceUsage:
        pid = self.pid
        return measure_usage(pid) if pid is not None else ResourceUsage(at_ns=time.monotonic_ns())

    @property
    def _aliases_directory(self) -> Path:
        assert self._private is not None
        return self._private / "aliases"
