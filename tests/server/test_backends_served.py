"""The same network on each backend of the embedded server that runs a library: what a user sees is the same."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from google.protobuf import text_format
from interpreters import NUMPY, TRITON, find_torch, make_environment
from networks import FILES, expect, write_network
from serving import settled_statistics
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from pytest_triton.errors import ModelLoadError, RequestError
from pytest_triton.server import EmbeddedServer, ModelControl

THREADS = {
    "onnxruntime": "intra_op_thread_count",
    "openvino": "INFERENCE_NUM_THREADS",
    "pytorch": "INTRA_OP_THREAD_COUNT",
}
INSTALL = {"onnxruntime": r"pytest-triton\[embedded\]", "openvino": r"pytest-triton\[openvino\]", "pytorch": "torch"}


@dataclass(frozen=True)
class Served:
    """A running server with the models of one backend."""

    backend: str
    server: EmbeddedServer

    @property
    def control(self) -> ModelControl:
        return self.server.control


def configure(backend: str, more: str = "", **parameters: object) -> str:
    """A configuration of the network. OpenVINO runs a batch that is not full only if it may fill it up."""
    values = {"ENABLE_BATCH_PADDING": "YES", **parameters} if backend == "openvino" else parameters
    return (
        f'backend: "{backend}" max_batch_size: 8 dynamic_batching {{ max_queue_delay_microseconds: 200000 }}'
        " instance_group { count: 1 kind: KIND_CPU }"
        ' input { name: "X" data_type: TYPE_FP32 dims: 3 }'
        ' output { name: "Y" data_type: TYPE_FP32 dims: 2 } output { name: "TOTAL" data_type: TYPE_FP32 dims: 1 }'
        + "".join(f' parameters {{ key: "{key}" value {{ string_value: "{held}" }} }}' for key, held in values.items())
        + more
    )


@pytest.fixture(scope="module", params=list(FILES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    backend = request.param
    folder = tmp_path_factory.mktemp(backend)
    repository = folder / "models"
    python = find_torch(folder / "python") if backend == "pytorch" else sys.executable
    write_network(backend, repository / "bare" / "1", python)
    for name in ("net", "missing", "corrupt"):
        shutil.copytree(repository / "bare", repository / name)
        (repository / name / "config.pbtxt").write_text(configure(backend, flavour="mint", **{THREADS[backend]: 1}))
    (repository / "missing" / "1" / FILES[backend]).unlink()
    (repository / "corrupt" / "1" / FILES[backend]).write_bytes(b"corrupt")
    server = EmbeddedServer(repository, output=folder / "server", python=python)
    server.start()
    try:
        server.control.load("net")
        yield Served(backend, server)
    finally:
        server.stop()


def ask(control: ModelControl, rows: Any) -> dict[str, Any]:
    return control.infer("net", {"X": np.asarray(rows, dtype=np.float32)}, {"X": "FP32"})


def test_a_batch_is_answered_with_every_output(served: Served) -> None:
    rows = np.array([[1, 2, 3], [-1, 0, 0.5]], dtype=np.float32)
    answer = ask(served.control, rows)
    for name, values in expect(rows).items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-5)


def test_requests_at_once_share_a_run_and_keep_their_answers(served: Served) -> None:
    before = settled_statistics(served.control, "net")
    every = [np.full((1 + number % 2, 3), number, dtype=np.float32) for number in range(5)]
    with ThreadPoolExecutor(len(every)) as pool:
        answers = list(pool.map(lambda rows: ask(served.control, rows), every))
    for rows, answer in zip(every, answers, strict=True):
        for name, values in expect(rows).items():
            np.testing.assert_allclose(answer[name], values, rtol=1e-5)
    after = settled_statistics(served.control, "net")
    assert after.inference_count - before.inference_count == 7
    assert after.execution_count - before.execution_count < 5


def test_only_the_outputs_that_are_asked_for(served: Served) -> None:
    tensor = InferInput("X", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 3), dtype=np.float32))
    with InferenceServerClient(served.control.address) as client:
        answer = client.infer("net", [tensor], outputs=[InferRequestedOutput("TOTAL")])
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["TOTAL"]
    assert answer.as_numpy("TOTAL").tolist() == [[3]]


@pytest.mark.parametrize(
    ("shape", "data_type", "problem"),
    [((1, 4), "FP32", r"unexpected shape for input 'X'"), ((1, 3), "INT64", "data-type is 'INT64'")],
)
def test_a_wrong_request_is_refused(served: Served, shape: tuple[int, ...], data_type: str, problem: str) -> None:
    values = np.ones(shape, dtype=np.int64 if data_type == "INT64" else np.float32)
    with pytest.raises(RequestError, match=problem):
        served.control.infer("net", {"X": values}, {"X": data_type})


def test_an_impossible_parameter_is_named_and_the_loaded_model_still_serves(served: Served) -> None:
    configuration = text_format.Parse(configure(served.backend, **{THREADS[served.backend]: "two"}), ModelConfig())
    with pytest.raises(ModelLoadError, match=f"{THREADS[served.backend]}.*'two'"):
        served.control.load("net", configuration)
    assert ask(served.control, [[1, 1, 1]])["TOTAL"].tolist() == [[3]]


def test_a_parameter_without_meaning_is_told_in_the_log(served: Served) -> None:
    assert served.server.log is not None
    assert f"model 'net': parameters that mean nothing to {served.backend}: flavour" in served.server.log.read_text()


def test_a_missing_file_is_named(served: Served) -> None:
    with pytest.raises(ModelLoadError, match=rf"unable to find '.*/1/{FILES[served.backend]}' for model 'missing'"):
        served.control.load("missing")


def test_a_corrupt_file_is_named(served: Served) -> None:
    with pytest.raises(ModelLoadError, match=rf"'corrupt', .*/1/{FILES[served.backend]}: "):
        served.control.load("corrupt")


def test_without_a_configuration_there_is_what_the_file_says(served: Served) -> None:
    if served.backend == "pytorch":
        with pytest.raises(ModelLoadError, match="TorchScript file does not say"):
            served.control.load("bare")
        return
    served.control.load("bare")
    found = served.control.configuration("bare")
    assert found.backend == served.backend
    # OpenVINO takes a model for one that batches only where its layout says so.
    batch = [] if served.backend == "onnxruntime" else [-1]
    assert found.max_batch_size == (4 if served.backend == "onnxruntime" else 0)
    assert {tensor.name: list(tensor.dims) for tensor in (*found.input, *found.output)} == {
        "X": [*batch, 3],
        "Y": [*batch, 2],
        "TOTAL": [*batch, 1],
    }


def test_the_number_of_threads_is_the_one_that_is_set(served: Served) -> None:
    ask(served.control, np.ones((8, 3)))
    with_one = newest_stub("net").num_threads()
    text = configure(served.backend, **{THREADS[served.backend]: 2})
    served.control.load("net", text_format.Parse(text, ModelConfig()))
    ask(served.control, np.ones((8, 3)))
    assert newest_stub("net").num_threads() > with_one


def newest_stub(model: str) -> psutil.Process:
    """The process of the model's instance that was made last."""
    commands = {child: " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)}
    stubs = [
        child
        for child, command in commands.items()
        if "triton_python_backend_stub" in command and f"/{model}/1/" in command
    ]
    return max(stubs, key=psutil.Process.create_time)


def test_what_the_interpreter_lacks_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "python", Path(sys.executable), *TRITON, *NUMPY)
    for backend in FILES:
        (tmp_path / "models" / backend / "1").mkdir(parents=True)
        (tmp_path / "models" / backend / "1" / FILES[backend]).touch()
        (tmp_path / "models" / backend / "config.pbtxt").write_text(configure(backend))
    server = EmbeddedServer(tmp_path / "models", output=tmp_path / "server", python=python)
    server.start()
    try:
        for backend in FILES:
            problem = f"No module named '{backend.removeprefix('py')}'.*{INSTALL[backend]}"
            with pytest.raises(ModelLoadError, match=problem) as caught:
                server.control.load(backend)
            assert f"Models run in {python}" in caught.value.hint
    finally:
        server.stop()
