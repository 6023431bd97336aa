"""What the servers that we start have in common, wherever they run: start, log, aliases, restart, end."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from pytest_triton.errors import RepositoryError, ServerDied, ServerStartError
from pytest_triton.observation import ResourceUsage
from pytest_triton.repository.python_code import may_define
from pytest_triton.server.arguments import LaunchArguments, make_arguments, split_arguments
from pytest_triton.server.base import Endpoints
from pytest_triton.server.control import UNLOAD_POLL, ModelControl
from pytest_triton.server.gpu_watch import GpuSource, add_gpu_memory, choose_source
from pytest_triton.server.gpus import GpuChoice, advise_gpus, choose_gpus
from pytest_triton.server.log import NAME, begin, last_lines, read_tail, telling_lines
from pytest_triton.server.options import SWITCH, join_words
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.readiness import wait_until_ready
from pytest_triton.server.remains import PREFIX
from pytest_triton.server.supervised import describe_status
from pytest_triton.server.unloading import unload

START_TIMEOUT = 60.0
START_ATTEMPTS = 3
UNLOAD_WITHIN = 1.5
GRACE = 0.6
DEATH_WITHIN = 1.0
PYTHON, ENSEMBLE = "python", "ensemble"
"""The platforms, as Triton names them, of models whose code may be seen, and of those that have none."""
_PORT_LOST = ("already in use", "failed to bind", "Failed to start")


class Running(Protocol):
    """A ``tritonserver`` that was started: a process, or a container."""

    @property
    def status(self) -> int | None:
        """How it ended (negative for a signal), None while it runs."""

    def end(self, *, grace: float) -> None:
        """Ask it to end, kill it after ``grace`` seconds, return when nothing of it is left. May be called again."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a server finds where it runs: the repositories it serves, by its own paths, the one of aliases last.

    ``arguments`` are those of its kind for ``tritonserver``; they map names without dashes to values. ``host`` is the
    machine's name, "" for this one.
    """

    repositories: tuple[PurePath, ...]
    arguments: Mapping[str, str]
    host: str = ""


class OwnServer(ABC):
    """A ``tritonserver`` that we start; nothing of it outlives this process.

    ``repository`` is the model repository, ``arguments`` the user's own for ``tritonserver``. The log goes to
    ``server.log`` in ``output``, after those of the servers before.
    ``start_timeout`` is in seconds, ``bind`` the IPv4 address that it listens on. ``gpus`` are those that it may use,
    by default those that this process may.
    """

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
        self._repository = repository.resolve()
        self._output = output
        self._user_arguments = tuple(arguments)
        self._options: Mapping[str, Any] = {}
        self._start_timeout = start_timeout
        self._bind = bind
        self._gpus = gpus
        self._gpu_source: GpuSource | None = None
        self._running: Running | None = None
        self._launched: LaunchArguments | None = None
        self._control: ModelControl | None = None
        self._aliases: dict[tuple[str, int], str] = {}
        self._version = ""

    @property
    @abstractmethod
    def kind(self) -> str:
        """``embedded``, ``local`` or ``docker``."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One line for the header: which server, which version, where from."""

    @abstractmethod
    def _remove_remains(self) -> None:
        """Remove what runs that were killed have left of their servers, and nothing else."""

    @abstractmethod
    def _settle(self, name: str) -> Site:
        """Make a place for a new server of that ``name``, which no other one has, with an empty repository for aliases.

        Raises ``ServerUnavailable`` when none can be started here.
        """

    @abstractmethod
    def _run(self, name: str, launched: LaunchArguments) -> None:
        """Start it in its place, and note it as ``_running`` at once. Raises ``ServerError``."""

    @abstractmethod
    def _clear(self) -> None:
        """Remove the place, if there is one."""

    @abstractmethod
    def _link(self, model: str, alias: str) -> None:
        """Make ``alias`` a link to ``model``'s folder, in the running server's repository of aliases."""

    @abstractmethod
    def _measure(self) -> ResourceUsage:
        """Return what the running server uses."""

    def _advise_start(self, lines: Sequence[str]) -> str:
        """Say what to do about a start that failed, by the ``lines`` that it wrote, or ""."""
        return ""

    def _advise(self, reason: str) -> str:
        """Say what to do about Triton's reason for refusing a model, or ""."""
        return ""

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        return self._started().endpoints

    @property
    def control(self) -> ModelControl:
        """The client for its control plane."""
        self._started()
        assert self._control is not None
        return self._control

    @property
    def repository(self) -> Path | None:
        """The model repository it serves."""
        return self._repository

    @property
    def log(self) -> Path:
        """The file that its log goes to."""
        if self._launched is not None and self._launched.log_file is not None:
            return self._launched.log_file
        return self._output_file

    @property
    def options(self) -> Mapping[str, Any]:
        """What ``restart`` gave it besides its usual arguments."""
        return self._options

    @property
    def completes(self) -> bool:
        """Whether neither its usual arguments nor its options keep it from completing configurations."""
        switch = SWITCH.replace("_", "-")
        return all(name != switch for name, _ in split_arguments(join_words(self._user_arguments, self._options)))

    @property
    def version(self) -> str:
        """The server's own version, "" before it was started."""
        return self._version

    def start(self) -> None:
        """Start it and wait until it is ready, choosing other ports when someone else was faster to take ours.

        What runs that were killed have left of their servers is removed before.
        """
        self._remove_remains()
        self._start()

    def _start(self) -> None:
        if not self._repository.is_dir():
            raise RepositoryError(
                f"there is no model repository at {self._repository}",
                hint="Name the folder that holds the models' folders.",
            )
        try:
            for attempt in range(1, START_ATTEMPTS + 1):
                problem = self._try_start()
                if problem is None:
                    return
                if attempt == START_ATTEMPTS or not self._lost_a_port():
                    advice = self._advise_start(read_tail(self._output_file))
                    if not self._ended():
                        advice = "--triton-start-timeout=TIME gives it longer."
                    raise ServerStartError(
                        f"the {self.kind} server did not start: {problem}",
                        details=telling_lines(self._output_file),
                        hint=f"{advice} Its log is {self.log}.".lstrip(),
                    )
                self.stop()
        except BaseException:
            self.stop()
            raise

    def _try_start(self) -> str | None:
        # One name for the server, its directory and its shared-memory blocks: no other server has it.
        name = f"{PREFIX}{secrets.token_hex(5)}"
        before = self._control
        self._launched = self._control = None
        try:
            self._output.mkdir(parents=True, exist_ok=True)
            begin(self._output_file, f"the {self.kind} server {name}")
            site = self._settle(name)
        except OSError as error:
            raise ServerStartError(
                f"the {self.kind} server has no place to write to: {error}",
                hint="Name a folder on a disk with room in --triton-output, and one for temporary files in TMPDIR.",
            ) from error
        gpus = self._gpus = self._gpus if self._gpus is not None else choose_gpus()
        self._launched = make_arguments(
            site.arguments,
            repositories=site.repositories,
            shm_prefix=name,
            bind=self._bind,
            host=site.host,
            user=join_words(self._user_arguments, self._options),
        )
        self._run(name, self._launched)
        self._control = ModelControl(
            self._launched.endpoints.address("http"),
            log=self.log,
            check=self._check_patiently,
            advise=lambda reason: advise_gpus(reason, gpus) or self._advise(reason),
        )
        if before is not None:
            self._control.timeout, self._control.request_timeout = before.timeout, before.request_timeout
        self._gpu_source = choose_source(gpus, self._launched.endpoints)
        problem = wait_until_ready(
            self._launched.endpoints,
            server_id=self._launched.server_id,
            timeout=self._start_timeout,
            ended=self._ended,
        )
        if problem is None:
            self._version = str(self._control.server_metadata().get("version", ""))
        return problem

    def _may_finalize(self, folder: Path, platform: str) -> bool:
        """Whether a loaded model may have something to do at its end. Of a backend in C++ nobody knows."""
        seen = platform == PYTHON and any(folder.glob("*/model.py"))
        return may_define(folder, "finalize") if seen else platform != ENSEMBLE

    @property
    def _traces(self) -> bool:
        """Whether Triton writes a trace, which it does at a proper end: only without models does it come to that."""
        words = join_words(self._user_arguments, self._options)
        return any(name.startswith("trace-") for name, _ in split_arguments(words))

    def stop(self) -> None:
        """Let the models finalize, end the server and all that it started, remove what it left. Safe at any time."""
        running, grace = self._running, 0.0
        models = {alias: model for (model, _), alias in self._aliases.items()}
        try:
            if running is not None and running.status is None and self._control is not None:
                finalized = unload(
                    self._control.address,
                    within=UNLOAD_WITHIN,
                    may_finalize=lambda name, platform: (
                        self._traces or self._may_finalize(self._repository / models.get(name, name), platform)
                    ),
                )
                grace = GRACE if finalized else 0.0
        finally:
            # Each thing is forgotten once it is gone: who is interrupted here may call again.
            if running is not None:
                running.end(grace=grace)
                self._running = None
            self._clear()
            self._aliases.clear()

    def restart(self, options: Mapping[str, Any]) -> None:
        """End it and start it with ``options``; the aliases that were given out are there again.

        Its models get no time to finalize: that would be a second for each instance.
        """
        aliases = list(self._aliases)
        if self._running is not None:
            self._running.end(grace=0)
        self.stop()
        self._options = dict(options)
        self._start()
        for model, number in aliases:
            self.alias(model, number)

    def check(self) -> None:
        """Raise ``ServerDied``, with the log's last lines, when it no longer runs."""
        if self._running is None or self._running.status is None:
            return
        raise ServerDied(
            f"the {self.kind} server died ({describe_status(self._running.status)})",
            details=last_lines(self.log) or last_lines(self._output_file),
            hint=f"Its log is {self.log}.",
        )

    def usage(self) -> ResourceUsage:
        """Return what the server's processes use at this moment."""
        if self._running is None or self._control is None:
            return ResourceUsage(at_ns=time.monotonic_ns())
        return add_gpu_memory(self._measure(), self._gpu_source)

    @property
    def gpu_source(self) -> GpuSource | None:
        """What tells what its GPUs do: NVML, or its metrics where that shows none."""
        return self._gpu_source

    def alias(self, model: str, number: int = 1) -> str | None:
        """Return another name under which ``model`` can be loaded: a link in a second repository of our own.

        There may be several, by ``number``. Triton loads it with a configuration given to the load API, whose name is
        the alias; without one only when the model's config.pbtxt does not carry its name.
        """
        folder = self._repository / model
        if self._running is None or not folder.is_dir():
            return None
        if (model, number) not in self._aliases:
            end = 2
            while (self._repository / f"{model}__{end}").exists() or f"{model}__{end}" in self._aliases.values():
                end += 1
            alias = f"{model}__{end}"
            self._link(model, alias)
            self._aliases[model, number] = alias
        return self._aliases[model, number]

    @property
    def _output_file(self) -> Path:
        """What the process itself writes: its whole log, unless the user's --log-file takes the log elsewhere."""
        return self._output / NAME

    def _started(self) -> LaunchArguments:
        if self._launched is None:
            raise ServerStartError(f"the {self.kind} server was not started", hint="Call start() first.")
        return self._launched

    def _ended(self) -> bool:
        return self._running is None or self._running.status is not None

    def _check_patiently(self) -> None:
        """Check after a broken connection, which is noticed sooner than the end of the process that broke it."""
        deadline = time.monotonic() + DEATH_WITHIN
        while self._running is not None and self._running.status is None and time.monotonic() < deadline:
            time.sleep(UNLOAD_POLL)
        self.check()

    def _lost_a_port(self) -> bool:
        if self._launched is None or not self._launched.ports_are_ours:
            return False
        return any(sign in line for line in read_tail(self._output_file) for sign in _PORT_LOST)
