"""Which server ``--triton-server`` means here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.errors import OptionError, nearest
from pytest_triton.server.base import Server
from pytest_triton.server.embedded.server import EmbeddedServer
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.local import PROGRAM, LocalServer
from pytest_triton.server.ports import LOOPBACK
from pytest_triton.server.process import START_TIMEOUT
from pytest_triton.server.remote import RemoteServer
from pytest_triton.server.transport import NO_HEADERS

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS

KINDS = ("auto", "embedded", "local")


def resolve(kind: str, program: str = "") -> str:
    """Say what ``auto`` means here: ``local`` where a ``program`` is named or on PATH, else ``embedded``."""
    if kind != "auto":
        return kind
    return "local" if program or shutil.which(PROGRAM) else "embedded"


def choose(
    kind: str,
    repository: Path | None,
    *,
    output: Path,
    arguments: Sequence[str] = (),
    python: str | None = None,
    program: str = "",
    tls: TLS | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    start_timeout: float = START_TIMEOUT,
    bind: str = LOOPBACK,
    gpus: GpuChoice | None = None,
) -> Server:
    """Return the server that ``kind`` names, not yet started: ``embedded``, ``local``, an address, or ``auto``.

    ``python`` is the interpreter of the embedded one, ``program`` the path of a local one. ``tls`` and ``headers`` are
    for one at an address, and for no other. One of our own listens on ``bind`` and has ``start_timeout`` seconds to
    become ready. ``gpus`` are those that it may use. Raises ``OptionError`` for anything else, and where a server of
    our own lacks a repository to serve.
    """
    if ":" in kind:
        return RemoteServer(kind, tls=tls, headers=headers)
    if kind not in KINDS:
        raise OptionError(
            f"--triton-server={kind} is no kind of server",
            hint=f"A running server is named by its address, http://host:port; {nearest(kind, KINDS)}",
        )
    if repository is None:
        raise OptionError("there is no model repository to serve", hint="Name one with --triton-repository.")
    if resolve(kind, program) == "local":
        return LocalServer(
            repository,
            output=output,
            program=program or PROGRAM,
            arguments=arguments,
            start_timeout=start_timeout,
            bind=bind,
            gpus=gpus,
        )
    return EmbeddedServer(
        repository,
        output=output,
        python=python,
        arguments=arguments,
        start_timeout=start_timeout,
        bind=bind,
        gpus=gpus,
    )
