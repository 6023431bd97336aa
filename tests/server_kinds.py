"""Every kind of server that a user can name, each running for as long as a block lasts."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apart import install_triton, python3_on_path, serve_fixed
from docker_engine import IMAGE, engine
from tls import make_certificates, tls_proxy

from pytest_triton.load.base import TLS
from pytest_triton.server import EmbeddedServer, LocalServer, RemoteServer
from pytest_triton.server.base import Server
from pytest_triton.server.docker.owners import LABEL
from pytest_triton.server.docker.server import DockerServer
from pytest_triton.server.process import ChildServer

ARGUMENTS = ("--disable-auto-complete-config",)
"""The models of these tests leave nothing to complete, and without looking for it a load takes a second less."""
TOKEN = "hunter2"


@dataclass(frozen=True)
class Serving:
    """A server that was started. ``kill`` ends it as a crash does, where it is nobody else's.

    ``controlled`` says whether it loads models for us.
    """

    server: Server
    kill: Callable[[], None] | None = None
    controlled: bool = True

    @property
    def ours(self) -> bool:
        """Whether it is ours to start and to end."""
        return self.server.kind != "remote"

    @property
    def protocols(self) -> list[str]:
        """The protocols that it is known to speak."""
        endpoints = self.server.endpoints
        return [name for name in ("http", "grpc") if getattr(endpoints, name) is not None]


Serve = Callable[[Path, Path], AbstractContextManager[Serving]]


@contextmanager
def run(server: Server, **known: Any) -> Iterator[Serving]:
    """Start ``server``; end it with the block, whatever happens."""
    with ExitStack() as undo:
        undo.callback(server.stop)
        server.start()
        yield Serving(server, **known)


@contextmanager
def run_child(server: ChildServer) -> Iterator[Serving]:
    """Start a server that is a child of ours."""

    def kill() -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

    with run(server, kill=kill) as serving:
        yield serving


@contextmanager
def embedded(repository: Path, folder: Path) -> Iterator[Serving]:
    """The embedded server."""
    with run_child(EmbeddedServer(repository, output=folder, arguments=ARGUMENTS)) as serving:
        yield serving


@contextmanager
def local(repository: Path, folder: Path) -> Iterator[Serving]:
    """The ``tritonserver`` on PATH."""
    program = install_triton(folder / "triton")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}{os.pathsep}{python3_on_path()}")
        with run_child(LocalServer(repository, output=folder, arguments=ARGUMENTS)) as serving:
            yield serving


@contextmanager
def docker(repository: Path, folder: Path) -> Iterator[Serving]:
    """A server in a container of the tests' own engine."""
    found = engine()

    def kill() -> None:
        for container in found.client.containers.list(filters={"label": LABEL}):
            container.kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", found.address)
        with run(DockerServer(repository, output=folder, image=IMAGE, arguments=ARGUMENTS), kill=kill) as serving:
            yield serving
    assert found.client.containers.list(all=True, filters={"label": LABEL}) == []


@contextmanager
def remote(repository: Path, folder: Path) -> Iterator[Serving]:
    """A server that someone else has started, by all its addresses."""
    with embedded(repository, folder) as elsewhere:
        at = elsewhere.server.endpoints
        url = f"http://{at.http},grpc://{at.grpc},http://{at.metrics}/metrics"
        with run(RemoteServer(url), kill=elsewhere.kill) as serving:
            yield serving


@contextmanager
def remote_fixed(repository: Path, folder: Path) -> Iterator[Serving]:
    """A server that someone else has started without explicit model control, with the one model that it serves."""
    (folder / "served").mkdir()
    shutil.copytree(repository / "identity", folder / "served" / "identity")
    program = install_triton(folder / "triton")
    with (
        serve_fixed(program, folder / "served", folder) as at,
        run(RemoteServer(f"http://{at.http}"), controlled=False) as serving,
    ):
        yield serving


@contextmanager
def remote_https(repository: Path, folder: Path) -> Iterator[Serving]:
    """A server behind a proxy that speaks TLS and wants a token."""
    certificates = make_certificates(folder)
    with embedded(repository, folder) as elsewhere:
        backend = elsewhere.server.endpoints.address("http")
        with tls_proxy(backend, certificates, token=TOKEN) as address:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            server = RemoteServer(f"https://{address}", tls=TLS(authorities=certificates.ca), headers=headers)
            with run(server) as serving:
                yield serving


@contextmanager
def remote_grpcs(repository: Path, folder: Path) -> Iterator[Serving]:
    """A server that is known by its gRPC endpoint alone, which speaks TLS and wants a client's certificate."""
    certificates = make_certificates(folder)
    arguments = [
        *ARGUMENTS,
        "--grpc-use-ssl-mutual=1",
        f"--grpc-server-cert={certificates.server}",
        f"--grpc-server-key={certificates.server_key}",
        f"--grpc-root-cert={certificates.ca}",
    ]
    tls = TLS(authorities=certificates.ca, certificate=certificates.client, key=certificates.client_key)
    with (
        run(EmbeddedServer(repository, output=folder, arguments=arguments)) as elsewhere,
        run(RemoteServer(f"grpcs://{elsewhere.server.endpoints.grpc}", tls=tls)) as serving,
    ):
        yield serving


_needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

KINDS = [
    pytest.param(embedded, id="embedded"),
    pytest.param(local, id="local"),
    pytest.param(docker, id="docker"),
    pytest.param(remote, id="remote"),
    pytest.param(remote_fixed, id="remote-fixed"),
    pytest.param(remote_https, id="remote-https", marks=_needs_openssl),
    pytest.param(remote_grpcs, id="remote-grpcs", marks=_needs_openssl),
]
"""A new kind joins with one line."""
