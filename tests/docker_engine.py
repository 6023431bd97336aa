"""A Docker engine of the tests' own, which is no other one's, with an image of Triton in it.

``engine()`` starts it when it is asked for the first time; the end of the session ends it. A plugin of these tests.
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker_image
import psutil
import pytest

from pytest_triton.owner import Owner
from pytest_triton.server.docker.owners import LABEL

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE = "triton-of-these-tests:latest"
"""Has the embedded Triton in /opt/tritonserver, an interpreter with NumPy, and no backend but that of Python."""
ELSEWHERE = "127.0.0.2"
"""This machine, by an address that does not look like it."""
READY_WITHIN = 30.0
END_WITHIN = 20.0
_NEEDED = ("dockerd", "containerd", "setpriv", "ldd")


@dataclass(frozen=True)
class TestEngine:
    """A running engine. ``address`` is as in DOCKER_HOST."""

    __test__ = False
    address: str
    process: subprocess.Popen[bytes]
    folder: Path

    @functools.cached_property
    def client(self) -> DockerClient:
        """A client of the tests' own."""
        from docker import DockerClient

        return DockerClient(base_url=self.address, version="auto")


_STARTED: list[TestEngine] = []


def engine() -> TestEngine:
    """Return the session's engine, with ``IMAGE`` in it; skip the test where none can run, and say why."""
    if not _STARTED:
        _require()
        _STARTED.append(_start())
        _make_image(_STARTED[0].client)
    return _STARTED[0]


def running_containers(pid: int) -> list[str]:
    """Name the containers that run for a process, if the engine has been started at all."""
    found = [each for one in _STARTED for each in one.client.api.containers(filters={"label": LABEL})]
    owners = ((each["Names"][0], Owner.read(each["Labels"][LABEL])) for each in found)
    return [name for name, owner in owners if owner is not None and owner.pid == pid]


@pytest.fixture
def docker_engine(monkeypatch: pytest.MonkeyPatch) -> TestEngine:
    """The session's engine, as the one that DOCKER_HOST names."""
    found = engine()
    monkeypatch.setenv("DOCKER_HOST", found.address)
    return found


@contextmanager
def elsewhere(found: TestEngine) -> Iterator[str]:
    """Make the engine seem another machine's, for root alone; yield its address."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(found.address.removeprefix("unix://"))
                ends = {self.request: engine, engine: self.request}
                while _is_roots(self.client_address):
                    for each in select.select(list(ends), [], [])[0]:
                        piece = each.recv(65536)
                        if not piece:
                            return
                        ends[each].sendall(piece)

    with socketserver.ThreadingTCPServer((ELSEWHERE, 0), Forward) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://{ELSEWHERE}:{server.server_address[1]}"
        server.shutdown()


def _is_roots(address: tuple[str, int]) -> bool:
    """Tell whether a connection comes from root: who reaches an engine is root in all that matters."""
    host, port = address
    written = f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == written and row[7] == "0" for row in rows)


def pytest_sessionfinish() -> None:
    """End the engine and remove all that it has kept."""
    while _STARTED:
        _end(_STARTED.pop())


def _require() -> None:
    missing = [name for name in _NEEDED if _find(name) is None]
    if missing:
        pytest.skip(f"a Docker engine of the tests' own needs {', '.join(missing)} (apt-get install docker.io)")
    if os.geteuid() != 0:
        pytest.skip("a Docker engine of the tests' own is started by root only")


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _start() -> TestEngine:
    # Short: the engine's sockets lie below it, and a socket's path is.
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    (folder / "daemon.json").write_text("{}")
    address = f"unix://{folder}/docker.sock"
    command = [
        # It ends when the tests are killed, and all its containers with it.
        *("setpriv", "--pdeathsig=TERM"),
        str(_find("dockerd")),
        f"--config-file={folder}/daemon.json",
        f"--host={address}",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        # Nothing of this machine's network is changed; the tests make the bridge that they need.
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--log-level=error",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    found = TestEngine(address, process, folder)
    deadline = time.monotonic() + READY_WITHIN
    while not (folder / "docker.sock").exists() or not _answers(found):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "log").read_text(errors="replace").splitlines()[-1:]
            _end(found)
            pytest.skip(f"no Docker engine runs here: {' '.join(said) or 'it does not answer'}")
        time.sleep(0.05)
    return found


def _answers(found: TestEngine) -> bool:
    from docker.errors import DockerException

    try:
        return bool(found.client.ping())
    except DockerException:
        return False


def _make_image(client: DockerClient) -> None:
    changes = [f"ENV {name}={value}" for name, value in docker_image.recipe().items()]
    client.api.import_image_from_stream(docker_image.build(), *IMAGE.split(":"), changes=changes)


def _end(found: TestEngine) -> None:
    family = [found.process.pid] if found.process.poll() is None else []
    children = [child for pid in family for child in psutil.Process(pid).children(recursive=True)]
    found.process.terminate()
    try:
        found.process.wait(END_WITHIN)
    except subprocess.TimeoutExpired:
        found.process.kill()
        found.process.wait()
    for child in children:
        if child.is_running():
            child.kill()
    for mount in reversed(_mounts(found.folder)):
        subprocess.run(["umount", "--lazy", mount], check=False, timeout=10)
    shutil.rmtree(found.folder, ignore_errors=True)


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [place for line in lines if (place := line.split()[1]).startswith(f"{folder}/")]
