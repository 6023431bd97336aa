"""The server that a command works on: options of its own, else pytest's ini keys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_triton.command.settings import Found
    from pytest_triton.load.base import TLS
    from pytest_triton.server.base import Server

_DEFAULT = "embedded"
_YES = ("1", "true", "yes", "on")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; each may be written as pytest has it, too, with ``--triton-`` before its name."""
    add = partial(_add, parser.add_argument_group("server", "without them, pytest's ini keys in this folder count"))
    add("server", metavar="KIND|URL", help=f"{_DEFAULT} (default), local, docker, auto, http://host:port")
    add("server-path", metavar="PATH", help="the program tritonserver of a local server (default: on PATH)")
    add("image", metavar="IMAGE", help="the image of a server in a container")
    add("docker-args", metavar="'--OPTION=VALUE ...'", action="append", help="what docker run would be given for it")
    add("header", metavar="'NAME: VALUE'", action="append", help="for a running server, as in 'Authorization: env:T'")
    add("ca", metavar="PEM", help="whom to trust over TLS (default: the system's)")
    add("cert", metavar="PEM", help="our own certificate over TLS")
    add("key", metavar="PEM", help="its key, unless it is in the same file")
    add("insecure", action="store_const", const="1", help="over https, do not check the server's certificate")


def _add(group: Any, name: str, **rest: Any) -> None:
    group.add_argument(f"--{name}", f"--triton-{name}", dest=name.replace("-", "_"), default=None, **rest)


def make_server(chosen: argparse.Namespace, found: Found, repository: Path, output: Path) -> Server:
    """Return the server that is ``chosen``, or that the ini keys which were ``found`` name, not yet started.

    Raises ``OptionError``.
    """
    from pytest_triton.server.choice import choose
    from pytest_triton.server.headers import read_headers

    settings = _Settings(vars(chosen), found)
    kind = settings.text("server") or _DEFAULT
    if ":" not in kind:
        return choose(
            kind,
            repository,
            output=output,
            python=settings.text("embedded_python") or None,
            program=settings.path("server_path"),
            image=settings.text("image"),
            docker_args="\n".join(settings.lines("docker_args")[0]),
        )
    lines, base = settings.lines("header")
    return choose(kind, repository, output=output, headers=read_headers(lines, base=base), tls=settings.tls())


@dataclass(frozen=True, slots=True)
class _Settings:
    chosen: Mapping[str, Any]
    found: Found

    def value(self, name: str) -> tuple[Any, Path]:
        """Return a setting, None where it is not set, and the folder that its relative paths begin in."""
        if self.chosen.get(name) is not None:
            return self.chosen[name], Path.cwd()
        return self.found.values.get(f"triton_{name}"), self.found.folder

    def text(self, name: str) -> str:
        return str(self.value(name)[0] or "").strip()

    def path(self, name: str) -> str:
        value, base = self.value(name)
        text = str(value or "").strip()
        return str((base / Path(text).expanduser()).absolute()) if text else ""

    def lines(self, name: str) -> tuple[list[str], Path]:
        value, base = self.value(name)
        lines = value if isinstance(value, list) else str(value or "").splitlines()
        return [line.strip() for line in lines if line.strip()], base

    def tls(self) -> TLS | None:
        from pytest_triton.load.base import TLS

        named = {"authorities": self.path("ca"), "certificate": self.path("cert"), "key": self.path("key")}
        insecure = self.text("insecure").lower() in _YES
        return TLS(**named, verify=not insecure) if insecure or any(named.values()) else None
