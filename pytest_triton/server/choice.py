"""Which server ``--triton-server`` means here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_triton.errors import OptionError, nearest
from pytest_triton.server.base import Server
from pytest_triton.server.embedded.server import EmbeddedServer
from pytest_triton.server.local import PROGRAM, LocalServer
from pytest_triton.server.remote import RemoteServer

KINDS = ("auto", "embedded", "local")


def choose(
    kind: str, repository: Path | None, *, output: Path, arguments: Sequence[str] = (), python: str | None = None
) -> Server:
    """Return the server that ``kind`` names, not yet started: ``embedded``, ``local``, an address, or ``auto``.

    ``auto`` is ``local`` where a ``tritonserver`` is on PATH, else ``embedded``. Raises ``OptionError`` for anything
    else, and where a server of our own lacks a repository to serve.
    """
    if ":" in kind:
        return RemoteServer(kind)
    if kind not in KINDS:
        raise OptionError(
            f"--triton-server={kind} is no kind of server",
            hint=f"{nearest(kind, KINDS)}; a running server is named by its address: http://host:port",
        )
    if repository is None:
        raise OptionError("there is no model repository to serve", hint="name one with --triton-repository")
    if kind == "local" or (kind == "auto" and shutil.which(PROGRAM)):
        return LocalServer(repository, output=output, arguments=arguments)
    return EmbeddedServer(repository, output=output, python=python, arguments=arguments)
