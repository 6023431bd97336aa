"""The engines by name, and what the tritonclient engine makes of errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tritonclient.utils import InferenceServerException

from pytest_triton.case import Load
from pytest_triton.errors import EngineError, OptionError
from pytest_triton.load import TLS, Plan, RequestSet
from pytest_triton.load.engines import ENGINES, make_engine
from pytest_triton.load.status import LOST, TIMED_OUT, UNREACHABLE
from pytest_triton.load.tritonclient_clients import Unsendable, as_metadata, channel_arguments, grpc_failure
from pytest_triton.load.tritonclient_engine import TritonclientEngine
from pytest_triton.plugin.options import OPTIONS


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_bears_its_name(name: str) -> None:
    assert make_engine(name).name == name


def test_the_option_knows_every_engine() -> None:
    assert set(OPTIONS["engine"].choices) == set(ENGINES)


def test_an_unknown_engine() -> None:
    with pytest.raises(OptionError, match="no engine 'perf-analyzer'") as caught:
        make_engine("perf-analyzer")
    assert caught.value.hint == "did you mean 'perf_analyzer'?"


@pytest.mark.parametrize(
    ("load", "problem"),
    [(Load(concurrency="auto"), "concurrency"), (Load(concurrency=0), "concurrency"), (Load(streaming=True), "grpc")],
)
def test_tritonclient_refuses_by_name(load: Load, problem: str) -> None:
    assert problem in (TritonclientEngine().refusal(load) or "")


def test_nothing_to_send() -> None:
    with pytest.raises(EngineError, match="no request"):
        TritonclientEngine().open(Plan("127.0.0.1:9", Load(), RequestSet((), ())))


@pytest.mark.parametrize(
    ("status", "message", "code", "reason"),
    [
        (None, "no luck", 2, "gRPC stream: no luck"),
        ("StatusCode.INVALID_ARGUMENT", "bad shape", 3, "gRPC 3 (INVALID_ARGUMENT): bad shape"),
        ("StatusCode.UNAVAILABLE", "the queue is full", 14, "gRPC 14 (UNAVAILABLE): the queue is full"),
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", TIMED_OUT, "no answer from host:1 within 2 s"),
        (
            "StatusCode.UNAVAILABLE",
            "failed to connect to all",
            UNREACHABLE,
            "no connection to host:1: failed to connect",
        ),
        ("StatusCode.UNAVAILABLE", "Socket closed", LOST, "the connection to host:1 was lost: Socket closed"),
    ],
)
def test_grpc_errors_in_our_words(status: str | None, message: str, code: int, reason: str) -> None:
    failure = grpc_failure(InferenceServerException(message, status=status), "host:1", 2.0)
    assert failure.status == code
    assert failure.reason.startswith(reason)


def test_headers_become_metadata() -> None:
    assert as_metadata({"Authorization": "Bearer X"}) == {"authorization": "Bearer X"}


def test_tls_of_a_channel() -> None:
    assert channel_arguments(None) == {}
    arguments = channel_arguments(TLS(authorities="ca.pem", certificate="our.pem", server_name="triton"))
    assert (arguments["root_certificates"], arguments["private_key"]) == ("ca.pem", "our.pem")
    assert ("grpc.ssl_target_name_override", "triton") in arguments["channel_args"]
    with pytest.raises(Unsendable, match="certificate"):
        channel_arguments(TLS(verify=False))


def test_making_an_engine_imports_no_client() -> None:
    code = "import sys, pytest_triton.load.engines as e; [e.make_engine(name) for name in e.ENGINES]"
    code += "; print('grpc' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "False"
