"""The launch arguments: ours, and the user's on top."""

import socket
from pathlib import Path

import pytest

from pytest_triton.errors import OptionError, ServerStartError
from pytest_triton.server.arguments import LaunchArguments, make_arguments, split_arguments
from pytest_triton.server.ports import choose_ports, holder, is_free


def arguments_for(*user: str) -> LaunchArguments:
    return make_arguments(
        {"backend-directory": "/backends"},
        repositories=[Path("/models"), Path("/aliases")],
        shm_prefix="mine",
        user=user,
    )


def test_everything_listens_on_loopback_under_explicit_control():
    launch = arguments_for()
    assert launch.words[:2] == ("--model-repository=/models", "--model-repository=/aliases")
    assert {
        "--model-control-mode=explicit",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        "--backend-directory=/backends",
        "--backend-config=python,shm-region-prefix-name=mine",
    } <= set(launch.words)
    assert launch.server_id == "mine"
    assert launch.ports_are_ours
    addresses = {launch.endpoints.http, launch.endpoints.grpc, launch.endpoints.metrics}
    assert len(addresses) == 3


def test_the_users_arguments_replace_ours():
    (port,) = choose_ports(1)
    launch = arguments_for(f"--http-port={port}", "--exit-timeout-secs", "9", "--id=hers", "--log-file=/tmp/her.log")
    assert launch.endpoints.http == f"127.0.0.1:{port}"
    assert [word for word in launch.words if word.startswith("--exit-timeout-secs")] == ["--exit-timeout-secs=9"]
    assert launch.server_id == "hers"
    assert launch.log_file == Path("/tmp/her.log")


def test_services_that_are_off_have_no_endpoint():
    endpoints = arguments_for("--allow-grpc=false", "--allow-metrics", "0").endpoints
    assert (endpoints.grpc, endpoints.metrics) == (None, None)


def test_choosing_again_cannot_help_when_all_ports_are_the_users():
    http, grpc = choose_ports(2)
    assert not arguments_for(f"--http-port={http}", f"--grpc-port={grpc}", "--allow-metrics=false").ports_are_ours


def test_an_address_for_all_is_reached_through_loopback():
    assert arguments_for("--http-address=0.0.0.0").endpoints.http.startswith("127.0.0.1:")


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        assert "pid" in holder(port)
        with pytest.raises(ServerStartError, match=f"port {port} is taken by"):
            arguments_for(f"--grpc-port={port}")
        arguments_for(f"--grpc-port={port}", "--allow-grpc=false")
    assert is_free(port)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (["--model-control-mode=none"], "--model-control-mode=none"),
        (["--allow-http=false"], "controlled over HTTP"),
        (["--backend-config=python,shm-region-prefix-name=x"], "the prefix is ours"),
        (["--http-port=many"], "a port is a number from 1 to 65535"),
        (["--http-port=70000"], "a port is a number from 1 to 65535"),
        (["--http-port"], "a port is a number"),
        (["8000"], "'8000' belongs to no --name"),
        (["--http-port=1", "2"], "'2' belongs to no --name"),
    ],
)
def test_impossible_arguments_are_refused(user: list[str], message: str):
    with pytest.raises(OptionError, match=message):
        arguments_for(*user)


def test_names_and_values_are_split():
    words = ["--a=1", "--b", "2", "--c", "--d=x=y"]
    assert split_arguments(words) == [("a", "1"), ("b", "2"), ("c", None), ("d", "x=y")]
