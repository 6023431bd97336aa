"""Perf Analyzer in a container of a real engine, on a server outside of it."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import docker_image
import numpy as np
import pytest
from docker_engine import TestEngine, elsewhere
from engines import PERF_ANALYZER
from python_models import CONFIGURATION, write_model
from serving import serve

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load import Plan, Request, RequestSet
from pytest_triton.load.perf_analyzer import PerfAnalyzerEngine
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.docker.owners import LABEL
from pytest_triton.server.docker.perf_analyzer import ContainerProgram

NAME = "perf-analyzer-of-these-tests"
REQUEST = Request("crossing", {"CROSSING": np.zeros((1, 3), np.float32)}, {"CROSSING": "FP32"})


@pytest.fixture
def image(docker_engine: TestEngine) -> str:
    """An image as NVIDIA's SDK image."""
    if not PERF_ANALYZER:
        pytest.skip("PYTEST_TRITON_PERF_ANALYZER does not say where Perf Analyzer is")
    name = f"{NAME}:whole"
    if not docker_engine.client.images.list(name):
        changes = [f"ENV PATH={docker_image.SDK}:/bin", f"ENV LD_LIBRARY_PATH={docker_image.SDK}"]
        archive = docker_image.build_sdk(Path(PERF_ANALYZER))
        docker_engine.client.api.import_image_from_stream(archive, *name.split(":"), changes=changes)
    return name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server outside of the container. Perf Analyzer shares blocks by the names of tensors, here no other test's."""
    configuration = CONFIGURATION.replace('"X"', '"CROSSING"').replace('"Y"', '"CROSSED"')
    answer = "pb_utils.InferenceResponse([pb_utils.Tensor('CROSSED', each.inputs()[0].as_numpy())])"
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "crossing", execute=f"return [{answer} for each in requests]", configuration=configuration)
    with serve(repository, tmp_path_factory.mktemp("server"), "crossing") as started:
        yield started


@pytest.fixture
def nothing_left(docker_engine: TestEngine) -> Iterator[None]:
    """No container of ours is left, nor any block of shared memory."""
    yield
    assert docker_engine.client.api.containers(all=True, filters={"label": LABEL}) == []
    assert shared() == set()


def shared() -> set[str]:
    """Name Perf Analyzer's blocks of shared memory."""
    return {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("CROSS")}


RUN = """
import signal
import tempfile
from pathlib import Path
from pytest_triton.server.docker.perf_analyzer import ContainerProgram

signal.signal(signal.SIGINT, signal.default_int_handler)
words = "-m crossing -u {address} --shape CROSSING:3 --measurement-interval 1000 --shared-memory system".split()
program = ContainerProgram.find("{image}")
try:
    with tempfile.TemporaryDirectory() as folder:
        program.run(words, folder=Path(folder), timeout=60)
finally:
    program.close()
"""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("nothing_left")
def test_it_measures_and_shares_memory_with_the_server(image: str, server: EmbeddedServer) -> None:
    load = Load(concurrency=2, shared_memory="system")
    plan = Plan(server.endpoints.address(load.protocol), load, RequestSet.of(REQUEST))
    engine = PerfAnalyzerEngine(functools.partial(ContainerProgram.find, image))
    with engine.open(plan) as session:
        session.start()
        trace = session.collect(seconds=1.0)
        session.stop()
    assert len(trace)
    assert not trace.status.any()
    assert trace.cpu_seconds is not None
    assert trace.cpu_seconds > 0
    assert trace.started_ns < trace.done[0] <= trace.done[-1] <= trace.ended_ns <= time.monotonic_ns()


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_fails_says_why(image: str, server: EmbeddedServer, tmp_path: Path) -> None:
    program = ContainerProgram.find(image)
    try:
        with pytest.raises(EngineError, match="Perf Analyzer ended with exit status") as caught:
            program.run(["-m", "nobody", "-u", server.endpoints.address("http")], folder=tmp_path, timeout=10)
        assert any("nobody" in line for line in caught.value.details)
    finally:
        program.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.usefixtures("nothing_left")
def test_a_run_ends_with_pytest(
    docker_engine: TestEngine,
    image: str,
    server: EmbeddedServer,
    run_script: Callable[..., Popen[str]],
    end: signal.Signals,
) -> None:
    ended = run_script(RUN.format(image=image, address=server.endpoints.address("http")))
    wait_until(lambda: bool(shared()))
    ended.send_signal(end)
    assert ended.wait(30) == -end
    wait_until(lambda: not docker_engine.client.api.containers(all=True, filters={"label": LABEL}))


@pytest.mark.parametrize(
    ("change", "problem", "advice"),
    [
        ("ENV PATH=/bin", "has no perf_analyzer on its PATH", "--triton-perf-analyzer=docker:nvcr.io"),
        ("ENV LD_LIBRARY_PATH=", "does not start", "libcudart"),
        ("ENV PATH=/nowhere", "Docker cannot", "--triton-perf-analyzer=docker:IMAGE"),
    ],
)
@pytest.mark.usefixtures("nothing_left")
def test_an_image_without_it(docker_engine: TestEngine, image: str, change: str, problem: str, advice: str) -> None:
    created = docker_engine.client.api.create_container(image, "sh")["Id"]
    docker_engine.client.api.commit(created, NAME, "broken", changes=[change])
    docker_engine.client.api.remove_container(created)
    with pytest.raises(EngineError, match=problem) as caught:
        ContainerProgram.find(f"{NAME}:broken")
    assert advice in str(caught.value)


def test_an_image_that_is_none(docker_engine: TestEngine) -> None:
    with pytest.raises(EngineError) as caught:
        ContainerProgram.find("//Triton")
    assert "--triton-perf-analyzer=docker:nvcr.io" in caught.value.hint
    assert "--triton-image" not in str(caught.value)


def test_an_engine_on_another_machine(docker_engine: TestEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere(docker_engine) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(EngineError, match="no part in this machine's network"):
            ContainerProgram.find()
