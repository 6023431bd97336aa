"""Tensors in memory that is shared with a real server, and what is left of it: nothing."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from python_models import write_echo, write_model
from serving import serve

from pytest_triton.errors import EngineError
from pytest_triton.load import regions
from pytest_triton.load.base import Request, RequestSet
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.encoding import encode_http
from pytest_triton.load.memory import SystemMemory
from pytest_triton.load.shared_memory import SharedTensors, measure_room
from pytest_triton.server import EmbeddedServer, ModelControl
from pytest_triton.server.grpc_control import GrpcControl

SAMPLES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 1, 255]], np.uint8),
    "INT64": np.array([[-(2**63), 0, 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -2.0, 65504.0]], np.float16),
    "FP32": np.array([[0.5, -2.0, np.inf]], np.float32),
    "FP64": np.array([[1e300, -0.0, 0.1]]),
    "BYTES": np.array([[b"", b"\x00\xff\x00", "Grüße".encode()]], np.object_),
}


def request(factor: int = 1, datatypes: tuple[str, ...] = tuple(SAMPLES)) -> Request:
    """A request to ``echo``; ``factor`` says how many of its tensors stand one after the other."""
    return Request(
        "echo",
        {f"IN_{kind}": np.tile(SAMPLES[kind], (1, factor)) for kind in datatypes},
        {f"IN_{kind}": kind for kind in datatypes},
    )


def answer_of(request: Request) -> dict[str, Any]:
    """What ``echo`` must answer."""
    return {f"OUT{name.removeprefix('IN')}": array for name, array in request.inputs.items()}


def sizes_of(*requests: Request) -> dict[str, int]:
    """The room for the answers."""
    kinds = {f"OUT_{kind}": kind for kind in SAMPLES}
    return measure_room((answer_of(request) for request in requests), kinds)


def described(request: Request) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What an answer says of itself."""
    return {name: (name.removeprefix("OUT_"), array.shape) for name, array in answer_of(request).items()}


def leftovers(control: ModelControl) -> tuple[list[str], list[str]]:
    """The blocks of our own kind that are there, and the regions that the server maps."""
    blocks = [path.name for path in regions.SHARED_MEMORY.glob("pytest-triton-*") if path.name.count(".") == 4]
    return blocks, control.registered_memory("system")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tmp_path_factory.mktemp("repository")
    write_echo(repository, "echo", SAMPLES)
    with serve(repository, tmp_path_factory.mktemp("output"), "echo") as running:
        yield running


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_results_are_intact_for_every_data_type(server: EmbeddedServer, protocol: str):
    module: Any = tritonclient.http if protocol == "http" else tritonclient.grpc
    as_json = {} if protocol == "http" else {"as_json": True}
    first, second = request(), request(3)
    with (
        SharedTensors(
            server.control, RequestSet.of(first, second), kind="system", sizes=sizes_of(first, second), places=2
        ) as tensors,
        closing(module.InferenceServerClient(getattr(server.endpoints, protocol))) as client,
    ):
        answers = {}
        for index, place in ((0, 0), (0, 1), (1, 1), (1, 0)):
            inputs, outputs = as_client_inputs(tensors.request(index, place), module)
            answers[index, place] = client.infer("echo", inputs, outputs=outputs).get_response(**as_json)
        for (index, place), answer in answers.items():
            expected = answer_of((first, second)[index])
            # Only what the tensors are comes over the wire, and not they themselves.
            assert not any("data" in output or "contents" in output for output in answer["outputs"])
            assert not any(answer.get("raw_output_contents", ()))
            told = {out["name"]: (out["datatype"], [int(size) for size in out["shape"]]) for out in answer["outputs"]}
            read = tensors.read(index, place, told)
            assert read.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(read[name], array)


def test_requests_in_flight_do_not_share_their_outputs(server: EmbeddedServer):
    requests = RequestSet.of(request(), request(2))
    with SharedTensors(server.control, requests, kind="system", sizes=sizes_of(request(2)), places=3) as tensors:
        taken = sorted(
            (extent.offset, extent.offset + extent.size)
            for place in range(3)
            for each in tensors.requests(place).requests
            if each.shared is not None
            for extent in each.shared.outputs.values()
        )
        assert len(taken) == 3 * 2 * len(SAMPLES)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(taken))
        # The inputs are the same from everywhere.
        assert len({str(tensors.request(0, place).shared.inputs) for place in range(3)}) == 1


def test_an_answer_without_room_is_an_error_of_the_request(server: EmbeddedServer):
    sent, sizes = request(64), {**sizes_of(request(64)), "OUT_FP64": 16}
    with (
        SharedTensors(server.control, RequestSet.of(sent), kind="system", sizes=sizes, places=1) as tensors,
        closing(tritonclient.http.InferenceServerClient(server.endpoints.address("http"))) as client,
    ):
        inputs, outputs = as_client_inputs(tensors.request(0, 0), tritonclient.http)
        with pytest.raises(tritonclient.utils.InferenceServerException, match="shared memory"):
            client.infer("echo", inputs, outputs=outputs)
        with pytest.raises(EngineError, match="does not fit into its 16 bytes"):
            tensors.read(0, 0, described(sent))


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_nothing_is_left_after_the_block(server: EmbeddedServer, over: str):
    control = server.control if over == "http" else GrpcControl(server.endpoints.address("grpc"))
    tensors = SharedTensors(control, RequestSet.of(request()), kind="system", sizes=sizes_of(request()), places=1)
    with tensors:
        names = sorted(region["name"] for region in tensors.regions)
        blocks, registered = leftovers(server.control)
        assert sorted(blocks) == sorted(registered) == names
    assert leftovers(server.control) == ([], [])


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(server: EmbeddedServer, kind: type[BaseException]):
    tensors = SharedTensors(
        server.control, RequestSet.of(request()), kind="system", sizes=sizes_of(request()), places=1
    )
    with pytest.raises(kind), tensors:
        raise kind
    assert leftovers(server.control) == ([], [])


def test_nothing_is_left_where_the_server_refuses(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch):
    # As when it runs on another machine, or in a container of its own: the block is not there.
    monkeypatch.setattr(
        SystemMemory, "registration", property(lambda memory: {"key": "/not-there", "offset": 0, "byte_size": 64})
    )
    tensors = SharedTensors(
        server.control, RequestSet.of(request()), kind="system", sizes=sizes_of(request()), places=1
    )
    with pytest.raises(EngineError, match="the server does not take system shared memory") as caught, tensors:
        pass
    assert "on this machine" in caught.value.hint
    assert leftovers(server.control) == ([], [])


HOLDING = """
    import socket, sys, time
    import numpy as np
    from pytest_triton.load.base import Request, RequestSet
    from pytest_triton.load.encoding import encode_http
    from pytest_triton.load.shared_memory import SharedTensors
    from pytest_triton.server import ModelControl
    from pytest_triton.server.grpc_control import GrpcControl

    control = ModelControl(sys.argv[2]) if sys.argv[1] == "http" else GrpcControl(sys.argv[2])
    request = Request("echo", {"IN_FP32": np.ones((1, 3), np.float32)}, {"IN_FP32": "FP32"})
    with SharedTensors(control, RequestSet.of(request), kind="system", sizes={"OUT_FP32": 12}, places=1) as tensors:
        print("ready", flush=True)
        if sys.argv[3:] == ["send"]:
            host, _, port = sys.argv[2].partition(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(encode_http(tensors.request(0, 0), host=sys.argv[2], headers={}))
                connection.recv(65536)
        time.sleep(600)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Say whether ``condition`` holds within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_process_that_is_killed(server: EmbeddedServer, run_script, number: int):
    process: subprocess.Popen[str] = run_script(HOLDING, "http", server.endpoints.address("http"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert [len(each) for each in leftovers(server.control)] == [2, 2]
    # All that it started in its own group, too: the guard must not be there.
    os.killpg(process.pid, number)
    process.wait()
    assert wait_for(lambda: leftovers(server.control) == ([], []))


def test_what_no_guard_removed_is_removed_by_the_next_run(server: EmbeddedServer, run_script):
    # Without an HTTP endpoint nobody but the next run can tell the server.
    process = run_script(HOLDING, "grpc", server.endpoints.address("grpc"))
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    assert wait_for(lambda: not leftovers(server.control)[0])
    assert len(server.control.registered_memory("system")) == 2
    with SharedTensors(
        server.control, RequestSet.of(request()), kind="system", sizes=sizes_of(request()), places=1
    ) as tensors:
        assert sorted(server.control.registered_memory("system")) == sorted(each["name"] for each in tensors.regions)
    assert leftovers(server.control) == ([], [])


def test_a_server_that_dies_first_is_no_trouble(tmp_path: Path):
    write_echo(tmp_path / "repository", "echo", ["FP32"])
    with serve(tmp_path / "repository", tmp_path / "output", "echo") as server:
        sent = request(datatypes=("FP32",))
        with SharedTensors(
            server.control, RequestSet.of(sent), kind="system", sizes=sizes_of(sent), places=1
        ) as tensors:
            names = [region["name"] for region in tensors.regions]
            # It removes, at its end, what bears its name.
            assert all(name.startswith(server.control.server_metadata()["name"]) for name in names)
            server.stop()
        assert not any((regions.SHARED_MEMORY / name).exists() for name in names)


def test_more_than_there_is_room_for_is_refused_before_anyone_writes(server: EmbeddedServer):
    sent = request(datatypes=("FP32",))
    tensors = SharedTensors(server.control, RequestSet.of(sent), kind="system", sizes={"OUT_FP32": 2**45}, places=1)
    with pytest.raises(EngineError, match="MiB of shared memory can be had") as caught, tensors:
        pass
    assert "--shm-size" in caught.value.hint
    assert leftovers(server.control) == ([], [])


def test_cuda_without_a_gpu_says_what_is_missing(server: EmbeddedServer):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    tensors = SharedTensors(server.control, RequestSet.of(request()), kind="cuda", sizes=sizes_of(request()), places=1)
    with pytest.raises(EngineError, match=r"GPU|cuda-python") as caught, tensors:
        pass
    assert "shared_memory='system'" in caught.value.hint
    assert json.dumps(tensors.regions)


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[tuple[EmbeddedServer, Path]]:
    """A server whose model ``slow`` makes a file when it has taken up a request, and then sleeps over it."""
    taken = tmp_path / "taken"
    execute = f"import time; open({str(taken)!r}, 'w').close(); time.sleep(1.5)"
    write_model(tmp_path / "repository", "slow", execute=execute)
    with serve(tmp_path / "repository", tmp_path / "output", "slow") as server:
        yield server, taken


def test_requests_that_are_still_under_way_are_waited_for(slow_server: tuple[EmbeddedServer, Path]):
    server, taken = slow_server
    address = server.endpoints.address("http")
    sent = Request("slow", {"X": np.ones((1, 100_000), np.float32)}, {"X": "FP32"})
    tensors = SharedTensors(server.control, RequestSet.of(sent), kind="system", sizes={"Y": 400_000}, places=1)
    with ThreadPoolExecutor(1) as pool:
        with tensors:
            body = encode_http(tensors.request(0, 0), host=address, headers={})
            answer = pool.submit(exchange, address, body)
            assert wait_for(taken.exists)
        assert answer.result(30).startswith(b"HTTP/1.1 200")
    server.check()
    assert leftovers(server.control) == ([], [])


def test_nothing_is_left_of_a_process_that_is_killed_with_a_request_under_way(
    slow_server: tuple[EmbeddedServer, Path], run_script
):
    server, taken = slow_server
    process = run_script(
        HOLDING.replace('"echo"', '"slow"').replace("IN_FP32", "X").replace("OUT_FP32", "Y"),
        "http",
        server.endpoints.address("http"),
        "send",
    )
    assert process.stdout.readline() == "ready\n"
    assert wait_for(taken.exists)
    process.kill()
    process.wait()
    assert wait_for(lambda: leftovers(server.control) == ([], []))
    server.check()


def exchange(address: str, message: bytes) -> bytes:
    """Send ``message`` and return the first bytes of the answer."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(message)
        return connection.recv(65536)
