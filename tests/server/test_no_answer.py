"""A model that never answers: a request to it has an end, and so has its server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from python_models import write_model, write_repeat

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.deployment import Deployer
from pytest_triton.errors import RequestError
from pytest_triton.server import EmbeddedServer, RemoteServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("asleep")
    write_model(folder / "models", "asleep", execute="__import__('time').sleep(600)", dims="[ 3 ]")
    code = write_repeat(folder / "models", "streaming", mark_last=False) / "1" / "model.py"
    code.write_text(code.read_text().replace("0.002", "600"))
    running = EmbeddedServer(folder / "models", output=folder, arguments=["--disable-auto-complete-config"])
    try:
        running.start()
        running.control.load("asleep")
        running.control.request_timeout = 0.2
        yield running
    finally:
        running.stop()


def test_a_request_is_given_up_over_either_protocol(server: EmbeddedServer, send) -> None:
    remote = RemoteServer(f"grpc://{server.endpoints.grpc}")
    remote.start()
    remote.control.request_timeout = 0.2
    for control in (server.control, remote.control):
        with pytest.raises(RequestError, match=r"^asleep did not answer a request within 0\.2 s\n") as caught:
            send(control, "asleep")
        assert "model_warmup" in caught.value.hint
    remote.stop()


def test_a_stream_is_given_up(server: EmbeddedServer) -> None:
    deployer = Deployer(server)
    deployment = deployer.deploy(Candidate("streaming"))
    case = Case(deployment.candidate, Load(), Inputs({"X": (1,)}, {"X": 1}))
    with pytest.raises(RequestError, match=r"streaming .*did not end within 0\.2 s"):
        deployer.prepare(deployment, case)


def test_the_server_that_is_started_after_it_waits_no_longer(server: EmbeddedServer) -> None:
    server.restart({})
    assert server.control.request_timeout == 0.2
