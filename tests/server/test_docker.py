"""Servers in containers of a real engine: where their files come from, what they leave, and what may be missing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool
from docker_engine import ELSEWHERE, IMAGE, TestEngine, elsewhere
from python_models import write_model
from registry import registry

import pytest_triton
from pytest_triton.errors import ModelLoadError, OptionError, ServerError, ServerStartError, ServerUnavailable
from pytest_triton.owner import Owner
from pytest_triton.server.docker.engine import connect
from pytest_triton.server.docker.image import find_image
from pytest_triton.server.docker.owners import LABEL, own_label
from pytest_triton.server.docker.server import DockerServer

ARGUMENTS = ("--disable-auto-complete-config",)
MakeServer = Callable[..., DockerServer]
WRITES = "open(args['model_repository'] + '/1/written', 'w')"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with ``identity``, and ``writing``, which needs to write beside its code."""
    write_model(tmp_path / "models", "identity")
    write_model(tmp_path / "models", "writing", initialize=WRITES)
    return tmp_path / "models"


@pytest.fixture
def make_server(docker_engine: TestEngine, repository: Path, tmp_path: Path) -> Iterator[MakeServer]:
    """Make servers in containers, ended with the test; nothing of them is left then."""
    made = []

    def make(**options: Any) -> DockerServer:
        settings = {"image": IMAGE, "arguments": ARGUMENTS, **options}
        made.append(DockerServer(repository, output=tmp_path / "out", **settings))
        return made[-1]

    yield make
    for server in made:
        server.stop()
    assert ours(docker_engine) == []


def ours(engine: TestEngine) -> list[str]:
    """Name the containers that bear our label."""
    return [str(each["Id"]) for each in engine.client.api.containers(all=True, filters={"label": LABEL})]


def test_the_repository_is_mounted_read_only(make_server: MakeServer, send: Callable[..., Any]) -> None:
    server = make_server()
    server.start()
    assert "mounted read-only" in server.description
    assert "host network" in server.description
    server.control.load("identity")
    assert send(server.control, "identity").tolist() == [[1, 2, 3]]
    with pytest.raises(ModelLoadError, match="Read-only file system"):
        server.control.load("writing")
    before = server.usage()
    send(server.control, "identity")
    after = server.usage()
    assert before.rss is not None
    assert before.rss > 1 << 20
    assert before.cpu_seconds is not None
    assert after.cpu_seconds is not None
    assert after.cpu_seconds >= before.cpu_seconds > 0


def test_ports_of_a_bridge_are_published_on_loopback_alone(
    docker_engine: TestEngine, make_server: MakeServer, send: Callable[..., Any]
) -> None:
    with bridge(docker_engine) as name:
        server = make_server(container=f"--network={name}")
        server.start()
        server.control.load("identity")
        assert send(server.control, "identity").tolist() == [[1, 2, 3]]
        assert server.endpoints.http is not None
        host, _, port = server.endpoints.http.partition(":")
        published = docker_engine.client.api.inspect_container(ours(docker_engine)[0])["NetworkSettings"]["Ports"]
        assert host == "127.0.0.1"
        assert published[f"{port}/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": port}]
        server.stop()


@contextmanager
def bridge(engine: TestEngine) -> Iterator[str]:
    """Make a bridge network of the tests' own."""
    name = f"tests-{os.getpid()}"
    # Another engine, beside this one, would choose the same addresses.
    subnet = f"10.{200 + os.getpid() // 256 % 50}.{os.getpid() % 256}.0/24"
    addresses = IPAMConfig(pool_configs=[IPAMPool(subnet)])
    network = engine.client.networks.create(name, driver="bridge", ipam=addresses)
    try:
        yield name
    finally:
        network.remove()


INSIDE = """
import sys
from pathlib import Path
import numpy as np
from pytest_triton.server.docker.server import DockerServer

server = DockerServer(Path("/project/models"), output=Path("/project/out"), image=sys.argv[1], arguments=sys.argv[2:])
try:
    server.start()
    server.control.load("identity")
    alias = server.alias("identity")
    server.control.load(alias, server.control.configuration("identity"))
    for model in ("identity", alias):
        print(server.control.infer(model, {"X": np.array([[1, 2, 3]], np.float32)}, {"X": "FP32"})["Y"].tolist())
    print(server.description)
    print("usage", server.usage().rss > 1 << 20, server.usage().cpu_seconds > 0)
finally:
    server.stop()
"""


def test_files_are_copied_where_pytest_runs_in_a_container_itself(
    docker_engine: TestEngine, repository: Path, tmp_path: Path
) -> None:
    """The engine knows /project/models of our container by another path, and has another one there."""
    (tmp_path / "inside.py").write_text(INSIDE)
    with bridge(docker_engine) as name:
        said = docker_engine.client.containers.run(
            IMAGE,
            ["python3", "/project/inside.py", IMAGE, *ARGUMENTS],
            environment={
                "PYTHONPATH": os.pathsep.join([str(Path(pytest_triton.__file__).parent.parent), *packages()]),
                "DOCKER_HOST": docker_engine.address,
            },
            volumes=[
                f"{tmp_path}:/project",
                f"{docker_engine.folder}:{docker_engine.folder}",
                *(f"{path}:{path}:ro" for path in (Path(pytest_triton.__file__).parent, *packages())),
            ],
            network=name,
            remove=True,
            stderr=True,
        ).decode()
    assert said.count("[[1.0, 2.0, 3.0]]") == 2, said
    assert "network of this container, repository copied into the container" in said
    assert "usage True True" in said
    assert ours(docker_engine) == []


def test_an_engine_on_another_machine(
    docker_engine: TestEngine, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, send: Callable[..., Any]
) -> None:
    with elsewhere(docker_engine) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(ServerUnavailable, match="another machine") as raised:
            make_server().start()
        assert "--triton-bind=0.0.0.0" in raised.value.hint
        server = make_server(container="--network=host", bind=ELSEWHERE)
        server.start()
        assert server.endpoints.http is not None
        assert server.endpoints.http.startswith(f"{ELSEWHERE}:")
        server.control.load("identity")
        assert send(server.control, "identity").tolist() == [[1, 2, 3]]
        server.stop()


def packages() -> list[str]:
    """Return the folders of installed packages."""
    return [path for path in sys.path if path.endswith("site-packages")]


SERVE = """
import sys, time
from pathlib import Path
from pytest_triton.server.docker.server import DockerServer

server = DockerServer(Path(sys.argv[1]), output=Path(sys.argv[2]), image=sys.argv[3], arguments=sys.argv[4:])
server.start()
print("serving", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_container_ends_with_the_process_that_started_it(
    number: int,
    docker_engine: TestEngine,
    repository: Path,
    tmp_path: Path,
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    process = run_script(SERVE, str(repository), str(tmp_path / "out"), IMAGE, *ARGUMENTS)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    assert len(ours(docker_engine)) == 1
    process.send_signal(number)
    process.wait()
    deadline = time.monotonic() + 5
    while ours(docker_engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ours(docker_engine) == []


def test_what_dead_runs_left_is_removed_and_nothing_else(docker_engine: TestEngine, make_server: MakeServer) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    me = Owner.current()
    gone = Owner(me.host, me.boot, me.namespace, dead.pid, me.started + 1)
    elsewhere = Owner("elsewhere", "another-boot", 1, dead.pid, 1)
    labels = {
        "gone": {LABEL: str(gone)},
        "alive": own_label(),
        "elsewhere": {LABEL: str(elsewhere)},
        "unreadable": {LABEL: "1 2 3"},
        "foreign": {},
    }
    containers = docker_engine.client.containers
    made = {name: containers.create(IMAGE, ["true"], labels=each) for name, each in labels.items()}
    try:
        make_server().start()
        left = {str(each["Id"]) for each in docker_engine.client.api.containers(all=True)}
        assert {name for name, container in made.items() if container.id in left} == set(labels) - {"gone"}
    finally:
        for container in containers.list(all=True, ignore_removed=True):
            if container.id in {each.id for each in made.values()}:
                container.remove()


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"container": "--gpus=all"}, "no NVIDIA runtime", "Container Toolkit"),
        ({"container": "--user=nobody-like-this"}, "nobody-like-this", "a user of the image"),
        ({"container": "--network=none"}, "without a network", "--network=none"),
        ({"container": "--network=nowhere"}, "nowhere", "--triton-docker-args"),
        ({"container": "--env=PATH=/bin"}, "ended before it was ready", "no tritonserver on its PATH"),
        ({"image": "127.0.0.1:1/triton:26.08"}, "cannot be pulled", "docker load"),
        ({"image": "Triton:::"}, "Triton:::", "--triton-image"),
        ({"arguments": ["--log-file=/tmp/log"]}, "--log-file", "server.log"),
    ],
)
def test_what_is_missing_is_said(make_server: MakeServer, options: dict[str, Any], said: str, hint: str) -> None:
    server = make_server(**options)
    with pytest.raises((ServerError, OptionError)) as raised:
        server.start()
    assert said in raised.value.problem
    assert hint in raised.value.hint


def test_an_early_end_is_told_with_the_last_of_the_log(make_server: MakeServer) -> None:
    with pytest.raises(ServerStartError) as raised:
        make_server(arguments=["--no-such-option"]).start()
    assert any("--no-such-option" in line for line in raised.value.details)


def test_what_the_container_cannot_read(make_server: MakeServer, repository: Path) -> None:
    server = make_server(container="--user=triton")
    server.start()
    (repository / "identity" / "1").chmod(0o700)
    with pytest.raises(ModelLoadError) as raised:
        server.control.load("identity")
    assert f"read all of {repository}" in raised.value.hint
    (repository / "identity" / "1" / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(ModelLoadError) as raised:
        server.control.load("identity")
    assert "weights.bin leads out of the repository, to /etc/hostname." in raised.value.hint


def test_too_little_shared_memory(make_server: MakeServer) -> None:
    server = make_server(container="--shm-size=100k")
    server.start()
    with pytest.raises(ModelLoadError) as raised:
        server.control.load("identity")
    assert "--triton-docker-args=--shm-size=4g" in raised.value.hint


CONNECT = """
import os

import docker
import docker.context
from pytest_triton.errors import ServerUnavailable
from pytest_triton.server.docker.engine import connect

os.setuid(65534)
try:
    connect()
except ServerUnavailable as error:
    print(error)
"""


def test_no_permission_on_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_script: Callable[..., subprocess.Popen[str]]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("another user is taken on by root only")
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        said, _ = run_script(CONNECT).communicate(timeout=30)
    assert f"no permission to use the Docker engine at unix://{path}" in said
    assert "group docker" in said


def test_an_image_is_pulled_with_its_progress(docker_engine: TestEngine) -> None:
    told: list[str] = []
    engine = connect()
    try:
        with registry("triton", "26.08-py3", size=2_000_000) as name:
            image = find_image(engine, name, told.append)
            assert name in image.tags
            assert told[0] == f"pulling {name}"
            assert any("layers unpacked" in line for line in told), told
            assert find_image(engine, name, pytest.fail).id == image.id
            engine.client.images.remove(name)
            with pytest.raises(ServerUnavailable, match=r"there is no image \S+:26\.99-py3 to be pulled"):
                find_image(engine, name.replace("26.08", "26.99"), told.append)
    finally:
        engine.close()
