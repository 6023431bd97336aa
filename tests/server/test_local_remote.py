"""A tritonserver on PATH, and one that someone else started."""

import os
import secrets
from pathlib import Path

import pytest

from pytest_triton.errors import ServerDied, ServerError, ServerUnavailable
from pytest_triton.server import EmbeddedServer, LocalServer, RemoteServer
from pytest_triton.server.embedded.installation import find_installation
from pytest_triton.server.ports import choose_ports
from pytest_triton.server.readiness import wait_until_ready
from pytest_triton.server.supervised import SupervisedProcess


@pytest.fixture
def tritonserver_on_path(tmp_path: Path, embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the embedded Triton as ``tritonserver`` on PATH, as the official container does."""
    assert embedded_server.pid is not None
    installation = find_installation()
    command = Path(f"/proc/{embedded_server.pid}/cmdline").read_text().split("\0")
    backends = next(word for word in command if word.startswith("--backend-directory="))
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={installation.environment()['LD_LIBRARY_PATH']}\n"
        f'exec {installation.tritonserver} {backends} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(program.parent), str(installation.interpreter.path.parent), os.environ["PATH"]])
    )
    return program


def test_local_server_is_the_one_on_path(tritonserver_on_path: Path, python_models: Path, tmp_path: Path, send):
    server = LocalServer(python_models, output=tmp_path)
    server.start()
    try:
        assert str(tritonserver_on_path) in server.description
        server.control.load("identity")
        assert send(server.control, "identity").tolist() == [[1, 2, 3]]
    finally:
        server.stop()


def test_local_server_that_is_not_there(python_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailable, match="no program 'tritonserver' on PATH"):
        LocalServer(python_models, output=tmp_path).start()


def test_remote_server_is_asked_and_not_ended(embedded_server: EmbeddedServer, send):
    server = RemoteServer(f"http://{embedded_server.endpoints.http}")
    server.start()
    assert send(server.control, "identity").tolist() == [[1, 2, 3]]
    assert server.usage().rss is None
    assert server.alias("identity") is None
    server.stop()
    server.check()
    embedded_server.check()


def test_remote_server_that_is_not_there():
    (port,) = choose_ports(1)
    server = RemoteServer(f"127.0.0.1:{port}")
    with pytest.raises(ServerUnavailable, match=f"no Triton answers at http://127.0.0.1:{port}"):
        server.start()
    with pytest.raises(ServerDied):
        server.check()
    with pytest.raises(ServerDied, match="is gone"):
        server.control.index()


def test_remote_server_without_explicit_control_cannot_load(tmp_path: Path):
    repository = tmp_path / "repository"
    repository.mkdir()
    installation = find_installation()
    ports = dict(zip(("http", "grpc", "metrics"), choose_ports(3), strict=True))
    process = SupervisedProcess(
        [
            str(installation.tritonserver),
            f"--model-repository={repository}",
            *(f"--{name}-port={port}" for name, port in ports.items()),
            *(f"--{name}-address=127.0.0.1" for name in ports),
        ],
        environment=installation.environment(),
        log=tmp_path / "server.log",
        shm_prefix=f"pytest-triton-{secrets.token_hex(5)}",
        directories=[],
    )
    try:
        server = RemoteServer(f"127.0.0.1:{ports['http']}")
        wait_until_ready(server.endpoints, server_id="triton", timeout=30, ended=lambda: process.status is not None)
        server.start()
        with pytest.raises(ServerError, match="does not allow models to be loaded") as caught:
            server.control.load("identity")
        assert "--model-control-mode=explicit" in caught.value.hint
    finally:
        process.end(grace=0.5)
