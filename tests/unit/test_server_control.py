"""Triton's answers, read without a Triton."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from pytest_triton.errors import ModelLoadError, RequestError, ServerDied, ServerError
from pytest_triton.observation import ServerStatistics
from pytest_triton.server.control import ModelControl, add_up_statistics, clean_reason
from pytest_triton.server.ports import choose_ports
from pytest_triton.server.tensors import decode_response, encode_request
from pytest_triton.server.transport import Reply


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("failed to load 'm', failed to poll from model repository", "failed to poll from model repository"),
        (
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: ValueError: no\n\nAt:\n  x;\n",
            "ValueError: no\n\nAt:\n  x",
        ),
        ("load failed for model 'm': version 1 is at READY state: Internal: no such file;", "no such file"),
        ("load failed for model 'm': no version", "no version"),
        ("Invalid argument: dims must be positive", "dims must be positive"),
        ("Failed to process the request(s) for model 'm_0', message: KeyError: 'x'", "KeyError: 'x'"),
        ("[request id: <id_unknown>] unexpected shape", "unexpected shape"),
        ("Internal: ", "Internal:"),
    ],
)
def test_reasons_begin_with_the_cause(said: str, meant: str):
    assert clean_reason(said) == meant


def test_statistics_of_all_versions_are_added_up():
    version = {
        "inference_count": "6",
        "execution_count": 2,
        "inference_stats": {
            "success": {"count": 3, "ns": 30},
            "fail": {"count": 1, "ns": 5},
            "queue": {"count": 3, "ns": 9},
            "compute_infer": {"count": 3, "ns": 12},
        },
    }
    assert add_up_statistics({"model_stats": [version, version]}) == ServerStatistics(
        inference_count=12,
        execution_count=4,
        success_count=6,
        success_ns=60,
        fail_count=2,
        queue_ns=18,
        compute_infer_ns=24,
    )


def test_bf16_is_rounded_to_even_and_keeps_what_is_not_a_number():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.0e38, np.inf, np.nan], dtype=np.float32)
    body, header = encode_request({"X": values}, {"X": "BF16"})
    assert np.frombuffer(body[header:], dtype="<u2").tolist() == [0x3F80, 0x3F80, 0x3F82, 0xFF62, 0x7F80, 0x7FC0]


def test_outputs_are_read_from_binary_and_from_json():
    header = json.dumps(
        {
            "outputs": [
                {"name": "A", "datatype": "INT32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                {"name": "B", "datatype": "BYTES", "shape": [1], "data": ["x"]},
                {"name": "C", "datatype": "BOOL", "shape": [2], "data": [True, False]},
                {"name": "D", "datatype": "FP32", "shape": [0], "parameters": {"binary_data_size": 0}},
            ]
        }
    ).encode()
    answer = decode_response(header + np.array([[1, 2]], dtype="<i4").tobytes(), len(header))
    assert {name: tensor.tolist() for name, tensor in answer.items()} == {
        "A": [[1, 2]],
        "B": [b"x"],
        "C": [True, False],
        "D": [],
    }


def test_an_empty_tensor_where_there_should_be_one_is_an_error():
    # Triton 2.51's Python backend answers so under NumPy 2.
    output = {"name": "Y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 0}}
    with pytest.raises(RequestError, match="output 'Y' has 0 bytes") as caught:
        decode_response(json.dumps({"outputs": [output]}).encode(), None, model="m")
    assert "numpy<2" in caught.value.hint


class Answer(BaseHTTPRequestHandler):
    """Refuse every load the way the server's ``refusal`` says, and end on ``/v2`` without an answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": self.server.refusal}).encode()  # type: ignore[attr-defined]
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def refusing_server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_refused_load_says_why_and_what_to_do(refusing_server: HTTPServer):
    refusing_server.refusal = (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: E: no\n\nAt:\n  f.py;"  # type: ignore[attr-defined]
    )
    control = ModelControl(f"127.0.0.1:{refusing_server.server_port}", advise=lambda reason: f"about {reason[:5]}")
    with pytest.raises(ModelLoadError) as caught:
        control.load("m")
    error = caught.value
    assert error.problem == "Triton refused to load m: E: no"
    assert error.details == ("At:", "  f.py")
    assert error.reason == "E: no\n\nAt:\n  f.py"
    assert error.hint == "about E: no"


def test_a_server_without_explicit_control_says_how_to_start_it(refusing_server: HTTPServer):
    refusing_server.refusal = "explicit model load / unload is not allowed if polling is enabled"  # type: ignore[attr-defined]
    control = ModelControl(f"127.0.0.1:{refusing_server.server_port}")
    for change in (control.load, control.unload):
        with pytest.raises(ServerError, match="does not allow models to be loaded") as caught:
            change("m")
        assert "--model-control-mode=explicit" in caught.value.hint


def test_a_connection_that_breaks_means_that_the_server_died(refusing_server: HTTPServer):
    with pytest.raises(ServerDied, match="is gone"):
        ModelControl(f"127.0.0.1:{refusing_server.server_port}").server_metadata()


def test_a_server_that_is_no_triton_is_told():
    with pytest.raises(RequestError, match="not JSON: '<html>'") as caught:
        Reply(200, b"<html>").json()
    assert "Triton?" in caught.value.hint


def test_nobody_listening_is_neither_live_nor_ready():
    (port,) = choose_ports(1)
    control = ModelControl(f"127.0.0.1:{port}")
    assert not control.server_live()
    assert not control.server_ready()
    assert not control.model_ready("m")


def test_the_servers_own_account_of_its_death_comes_first():
    (port,) = choose_ports(1)

    def check() -> None:
        raise ServerDied("killed by SIGSEGV")

    with pytest.raises(ServerDied, match="SIGSEGV"):
        ModelControl(f"127.0.0.1:{port}", check=check).load("m")
