"""What the wire engine sends over HTTP, and what it does when a real Triton misbehaves."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from python_models import write_echo
from serving import serve, settled_statistics

from pytest_triton.case import Inputs, Load
from pytest_triton.load import Plan, Request, RequestSet, WireEngine, make_request
from pytest_triton.load.encoding import encode_http
from pytest_triton.load.status import LOST, OK, UNREACHABLE
from pytest_triton.server import EmbeddedServer

DATATYPES = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64")


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A Triton with ``echo``, of every data type that the Python backend has, and ``floats``."""
    write_echo(tmp_path / "repository", "echo", (*DATATYPES, "BYTES"))
    write_echo(tmp_path / "repository", "floats", ("FP32",))
    with serve(tmp_path / "repository", tmp_path / "server", "echo", "floats") as server:
        yield server


def request_for(server: EmbeddedServer, model: str, *, size: int, batch_size: int) -> Request:
    metadata = server.control.metadata(model)
    shapes = {entry["name"]: (size,) for entry in metadata["inputs"]}
    return make_request(metadata, max_batch_size=8, inputs=Inputs(shapes=shapes), batch_size=batch_size, model=model)


def tensors(message: bytes, kind: str) -> dict[str, tuple[list[int], bytes]]:
    """Take the body of a request or an answer apart: shape and bytes by data type."""
    head, _, body = message.partition(b"\r\n\r\n")
    at = int(head.split(b"Inference-Header-Content-Length: ")[1].split(b"\r\n")[0])
    found = {}
    for tensor in json.loads(body[:at])[kind]:
        size = tensor["parameters"]["binary_data_size"]
        found[tensor["name"].partition("_")[2]] = (tensor["shape"], body[at : at + size])
        at += size
    assert at == len(body)
    return found


def exchange(address: str, data: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data.replace(b"keep-alive", b"close", 1))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer


def test_tensors_of_every_type_come_back_as_they_were_sent(echo: EmbeddedServer) -> None:
    request = request_for(echo, "echo", size=7, batch_size=3)
    data = encode_http(request, host=echo.endpoints.http, headers={})
    sent = tensors(data, "inputs")
    assert set(sent) == {*DATATYPES, "BYTES"}
    assert tensors(exchange(echo.endpoints.http, data), "outputs") == sent


def test_answers_are_counted_to_the_byte(echo: EmbeddedServer) -> None:
    request = request_for(echo, "floats", size=2**20, batch_size=4)
    answer = exchange(echo.endpoints.http, encode_http(request, host=echo.endpoints.http, headers={}))
    _, tensor = tensors(answer, "outputs")["FP32"]
    assert len(tensor) == 16 * 2**20

    with WireEngine().open(
        Plan(echo.endpoints.http, Load(concurrency=2, batch_size=4), RequestSet.of(request))
    ) as session:
        session.start()
        traces = [session.collect(seconds=0, requests=4, limit=30), session.stop()]
    count = sum(len(trace) for trace in traces)
    assert all((trace.status == OK).all() for trace in traces)
    assert session.received == count * len(answer.partition(b"\r\n\r\n")[2])


def test_requests_are_sent_in_rotation(echo: EmbeddedServer) -> None:
    requests = tuple(request_for(echo, "floats", size=16, batch_size=batch_size) for batch_size in (1, 2, 3))
    before = settled_statistics(echo.control, "floats")
    with WireEngine().open(Plan(echo.endpoints.http, Load(), RequestSet.of(*requests))) as session:
        session.start()
        count = len(session.collect(seconds=0.2)) + len(session.stop())
    seen = settled_statistics(echo.control, "floats").since(before)
    assert seen.success_count == count
    rounds, rest = divmod(count, 3)
    assert seen.inference_count == 6 * rounds + sum((1, 2, 3)[:rest])


def test_a_server_that_is_killed_is_recorded_and_said(echo: EmbeddedServer) -> None:
    request = request_for(echo, "floats", size=16, batch_size=1)
    with WireEngine().open(Plan(echo.endpoints.http, Load(concurrency=4), RequestSet.of(request))) as session:
        session.start()
        assert (session.collect(seconds=0.1).status == OK).all()
        assert echo.pid is not None
        os.kill(echo.pid, signal.SIGKILL)
        trace = session.collect(seconds=0.1, requests=1_000_000, limit=60)
    codes = set(np.unique(trace.status).tolist())
    assert codes <= {OK, LOST, UNREACHABLE}
    assert UNREACHABLE in codes
    assert "refused" in session.hopeless
