"""Triton in a container: any image with a ``tritonserver`` in it, by default the official one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import OptionError, RepositoryError, ServerUnavailable
from pytest_triton.observation import ResourceUsage
from pytest_triton.repository.contents import read_contents
from pytest_triton.server.arguments import LaunchArguments, split_arguments
from pytest_triton.server.docker.archive import pack_folder, pack_link, pack_repository
from pytest_triton.server.docker.container import Container
from pytest_triton.server.docker.engine import Engine, connect
from pytest_triton.server.docker.groups import Groups
from pytest_triton.server.docker.image import OFFICIAL, find_image
from pytest_triton.server.docker.network import Network, choose_network
from pytest_triton.server.docker.options import ULIMITS, ContainerOptions, parse_options
from pytest_triton.server.docker.owners import remove_abandoned
from pytest_triton.server.docker.sight import is_same_folder
from pytest_triton.server.docker.usage import UsageStream
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.options import join_words
from pytest_triton.server.own import START_TIMEOUT, OwnServer, Site
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.remains import mark, remove_remains
from pytest_triton.server.supervisor import remove_blocks

if TYPE_CHECKING:
    from docker.models.images import Image

PROGRAM = "tritonserver"
REPOSITORY = PurePosixPath("/models")
ALIASES = PurePosixPath("/pytest-triton/aliases")
_EVERYWHERE = "0.0.0.0"
_LIMITED = "setting rlimit"
_UNSEEN = ("bind source path does not exist", "no such file or directory")
_UNREADABLE = ("model not found in any model repository", "failed to open", "Permission denied")
_NO_SHARED_MEMORY = ("--shm-size", "No space left on device", "shared memory pool")


class DockerServer(OwnServer):
    """The Triton of ``image``. Its repository is mounted read-only, or copied where the engine does not see it.

    ``container`` holds options of ``docker run`` in one text, and ``tell`` hears how far a pull is.
    """

    def __init__(
        self,
        repository: Path,
        *,
        output: Path,
        image: str = OFFICIAL,
        container: str = "",
        arguments: Sequence[str] = (),
        start_timeout: float = START_TIMEOUT,
        bind: str = LOOPBACK,
        gpus: GpuChoice | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(
            repository, output=output, arguments=arguments, start_timeout=start_timeout, bind=bind, gpus=gpus
        )
        self._image_name = image
        self._container_text = container
        self._tell = tell or (lambda text: None)
        self._engine: Engine | None = None
        self._figures: Groups | UsageStream | None = None
        self._container = ContainerOptions()
        self._limits: Mapping[str, str] = ULIMITS
        self._image: Image | None = None
        self._network: Network | None = None
        self._copied: bool | None = None
        self._name = ""

    @property
    def kind(self) -> str:
        """``docker``."""
        return "docker"

    @property
    def description(self) -> str:
        """One line for the header."""
        if self._network is None or self._copied is None:
            return f"docker Triton of {self._image_name} (not started)"
        files = "repository copied into the container" if self._copied else "repository mounted read-only"
        return f"docker Triton {self.version} ({self._image_name}, {self._network}, {files})"

    def _remove_remains(self) -> None:
        remove_remains()
        engine = connect()
        try:
            remove_abandoned(engine)
        finally:
            engine.close()

    def _settle(self, name: str) -> Site:
        words = join_words(self._user_arguments, self._options)
        if any(argument == "log-file" for argument, _ in split_arguments(words)):
            raise OptionError(
                "server argument --log-file names a file in the container, which ends with it",
                hint="Drop it: what Triton writes is kept as server.log.",
            )
        self._name = name
        self._container = parse_options(self._container_text, limits=self._limits)
        if self._container.create.get("ipc_mode") == "host":
            # Its blocks of shared memory lie here then, and outlive it when this process is killed.
            mark(name, Path())
        self._engine = connect()
        self._image = find_image(self._engine, self._image_name, self._tell)
        self._network = choose_network(self._engine, self._container.network, bind=self._bind)
        # What is published reaches the container from its own network, never from its loopback.
        listen = _EVERYWHERE if self._network.published else self._bind
        addresses = {f"{service}-address": listen for service in ("http", "grpc", "metrics")}
        return Site((REPOSITORY, ALIASES), addresses, self._network.host)

    def _run(self, name: str, launched: LaunchArguments) -> None:
        assert self._engine is not None
        container = Container(self._engine, name, self._output_file)
        self._running = container
        self._create(container, launched)
        try:
            container.start(self._image_name)
        except ServerUnavailable as error:
            if not self._limits or _LIMITED not in error.problem:
                raise
            # What is recommended only may be more than the engine itself is allowed, above all a rootless one.
            self._limits = {}
            self._container = parse_options(self._container_text, limits=self._limits)
            container.end(grace=0)
            self._run(name, launched)
            return
        self._figures = container.find_groups() or UsageStream(self._engine, name)

    def _create(self, container: Container, launched: LaunchArguments) -> None:
        """Create the container with the repository in it: mounted where the engine sees it, else copied."""
        from docker.types import Mount

        assert self._engine is not None
        settings = self._settings(launched)
        command = [*self._program(), *launched.words]
        aliases = pack_folder(ALIASES.relative_to("/"))
        if not self._copied:
            mount = Mount(str(REPOSITORY), str(self._repository), type="bind", read_only=True)
            mounted = {**settings, "mounts": [mount]}
            try:
                container.create(self._image_name, command, mounted)
                seen = self._copied is False or is_same_folder(
                    self._engine, container.name, REPOSITORY, self._repository
                )
            except ServerUnavailable as error:
                if not any(sign in error.problem and str(self._repository) in error.problem for sign in _UNSEEN):
                    raise
                seen = False
            self._copied = not seen
            if seen:
                container.put("/", aliases)
                return
            container.end(grace=0)
        container.create(self._image_name, command, settings)
        self._tell(f"copying {self._repository} into the container")
        container.put("/", pack_repository(self._repository, REPOSITORY.relative_to("/")))
        container.put("/", aliases)

    def _program(self) -> list[str]:
        """Return what the image is started with, and the program unless that is it."""
        assert self._image is not None
        entry = self._image.attrs["Config"].get("Entrypoint") or []
        words = [entry] if isinstance(entry, str) else [str(word) for word in entry]
        return words if words and PurePath(words[-1]).name == PROGRAM else [*words, PROGRAM]

    def _settings(self, launched: LaunchArguments) -> dict[str, Any]:
        """Return what the container is created with, without its repository."""
        from docker.types import DeviceRequest

        assert self._network is not None
        settings: dict[str, Any] = {**self._container.create, "network_mode": self._network.mode}
        if self._network.published:
            at = launched.endpoints
            ports = [int(each.rpartition(":")[2]) for each in (at.http, at.grpc, at.metrics) if each is not None]
            settings["ports"] = {f"{port}/tcp": (self._bind, port) for port in ports}
        gpus = self._gpus
        if "device_requests" in settings or gpus is None or self._network.host:
            # Of another machine's GPUs none is known here.
            return settings
        if gpus.gpus:
            settings["device_requests"] = [DeviceRequest(device_ids=list(gpus.uuids), capabilities=[["gpu"]])]
        elif gpus.restricted:
            # The images ask for all GPUs, and get them where NVIDIA's is the engine's usual runtime.
            settings["environment"] = {"NVIDIA_VISIBLE_DEVICES": "void", **settings.get("environment", {})}
        return settings

    def _clear(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = self._figures = None
        if self._name:
            # There are some here only where the container has shared ours.
            remove_blocks(self._name)
            self._name = ""

    def _link(self, model: str, alias: str) -> None:
        assert isinstance(self._running, Container)
        self._running.put(str(ALIASES), pack_link(alias, REPOSITORY / model))

    def _measure(self) -> ResourceUsage:
        return self._figures.read() if self._figures is not None else ResourceUsage(at_ns=time.monotonic_ns())

    def _advise_start(self, lines: Sequence[str]) -> str:
        if any(line.endswith((f"{PROGRAM}: not found", f"{PROGRAM}: command not found")) for line in lines):
            return f"{self._image_name} has no {PROGRAM} on its PATH: name an image of Triton's with --triton-image."
        return ""

    def _advise(self, reason: str) -> str:
        if any(sign in reason for sign in _NO_SHARED_MEMORY):
            size = self._container.create.get("shm_size", "the host's")
            return (
                f"The container's shared memory ({size}) is full: each instance of a Python model takes some. "
                "--triton-docker-args=--shm-size=4g gives it more."
            )
        if self._copied:
            return ""
        try:
            for _ in read_contents(self._repository):
                pass
        except RepositoryError as error:
            problem = error.problem.removesuffix(", and is not copied")
            return f"In the container there is nothing but the repository, and {problem}."
        if any(sign in reason for sign in _UNREADABLE):
            return (
                f"Can the container's user, root unless --user says otherwise, read all of {self._repository}? On a "
                "machine with SELinux it takes --triton-docker-args=--security-opt=label=disable."
            )
        return ""
