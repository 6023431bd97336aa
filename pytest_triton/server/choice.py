"""Which server ``--triton-server`` means here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pytest_triton.errors import OptionError, nearest
from pytest_triton.server.base import Server
from pytest_triton.server.docker.image import OFFICIAL
from pytest_triton.server.docker.server import DockerServer
from pytest_triton.server.embedded.server import EmbeddedServer
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.local import PROGRAM, LocalServer
from pytest_triton.server.own import START_TIMEOUT
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.remote import RemoteServer
from pytest_triton.server.transport import NO_HEADERS

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS

KINDS = ("auto", "embedded", "local", "docker")


class _Own(TypedDict):
    """What all servers of our own take."""

    output: Path
    arguments: Sequence[str]
    start_timeout: float
    bind: str
    gpus: GpuChoice | None


def resolve(kind: str, program: str = "", image: str = "") -> str:
    """Say what ``auto`` means here.

    It is ``local`` where a ``program`` is named or on PATH, else ``docker`` where an ``image`` is named, else
    ``embedded``.
    """
    if kind != "auto":
        return kind
    if program or shutil.which(PROGRAM):
        return "local"
    return "docker" if image else "embedded"


def choose(
    kind: str,
    repository: Path | None,
    *,
    output: Path,
    arguments: Sequence[str] = (),
    python: str | None = None,
    program: str = "",
    image: str = "",
    docker_args: str = "",
    tls: TLS | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    start_timeout: float = START_TIMEOUT,
    bind: str = LOOPBACK,
    gpus: GpuChoice | None = None,
    tell: Callable[[str], None] | None = None,
) -> Server:
    """Return the server that ``kind`` names, not yet started: a kind of our own, ``auto`` of them, or an address.

    ``python`` is the interpreter of the embedded one, ``program`` the path of a local one, ``image`` that of one in a
    container, which ``docker_args`` say more about. ``tls`` and ``headers`` are for one at an address, and for no
    other. One of our own listens on ``bind``, has ``start_timeout`` seconds to become ready, may use ``gpus``, and has
    ``tell`` hear what takes long before it can be started. Of one at an address, ``gpus`` of this machine are only
    looked at. Raises ``OptionError`` for anything else, and where a server of our own lacks a repository to serve.
    """
    if ":" in kind:
        return RemoteServer(kind, tls=tls, headers=headers, gpus=gpus)
    if kind not in KINDS:
        raise OptionError(
            f"--triton-server={kind} is no kind of server",
            hint=f"A running server is named by its address, http://host:port; {nearest(kind, KINDS)}",
        )
    if repository is None:
        raise OptionError("there is no model repository to serve", hint="Name one with --triton-repository.")
    resolved = resolve(kind, program, image)
    own: _Own = {
        "output": output,
        "arguments": arguments,
        "start_timeout": start_timeout,
        "bind": bind,
        "gpus": gpus,
    }
    if resolved == "docker":
        return DockerServer(repository, image=image or OFFICIAL, container=docker_args, tell=tell, **own)
    if resolved == "local":
        return LocalServer(repository, program=program or PROGRAM, **own)
    return EmbeddedServer(repository, python=python, **own)
