"""What a model calls is counted: the steps of an ensemble, and the models that Python code calls."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from python_models import write_model
from serving import serve

from pytest_triton.composing import Counting, ensemble_steps
from pytest_triton.server import EmbeddedServer

ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
ensemble_scheduling {{
  step [
    {{
      model_name: "{first}" model_version: -1
      input_map {{ key: "X" value: "X" }} output_map {{ key: "Y" value: "between" }}
    }},
    {{
      model_name: "{second}" model_version: -1
      input_map {{ key: "X" value: "between" }} output_map {{ key: "Y" value: "Y" }}
    }}
  ]
}}
"""
CALLS = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for each in requests:
            tensor = pb_utils.get_input_tensor_by_name(each, "X")
            for model in ("slow", "fast", "inner"):
                answer = pb_utils.InferenceRequest(
                    model_name=model, requested_output_names=["Y"], inputs=[pb_utils.Tensor("X", tensor.as_numpy())]
                ).exec()
                if answer.has_error():
                    raise pb_utils.TritonModelException(answer.error().message())
                tensor = pb_utils.get_output_tensor_by_name(answer, "Y")
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", tensor.as_numpy())]))
        return responses
"""
X = {"X": np.arange(8, dtype=np.float32).reshape(2, 4)}


def write_ensemble(repository: Path, name: str, first: str, second: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(ENSEMBLE.format(first=first, second=second))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with an ensemble in an ensemble, and a model whose code calls others."""
    repository = tmp_path_factory.mktemp("models")
    write_model(repository, "fast", dims="[ 4 ]")
    write_model(repository, "slow", dims="[ 4 ]", execute="__import__('time').sleep(0.02)")
    write_model(repository, "idle", dims="[ 4 ]")
    write_ensemble(repository, "inner", "fast", "slow")
    write_ensemble(repository, "outer", "inner", "fast")
    (write_model(repository, "calls", dims="[ 4 ]") / "1" / "model.py").write_text(CALLS)
    with serve(repository, tmp_path_factory.mktemp("output"), "outer", "calls", "idle") as running:
        yield running


def test_the_steps_of_an_ensemble_are_named_and_those_of_inner_ones(server: EmbeddedServer) -> None:
    assert ensemble_steps(server.control, "outer") == ("fast", "slow")
    assert ensemble_steps(server.control, "calls") == ()


def test_statistics_of_every_model_at_once(server: EmbeddedServer) -> None:
    every = server.control.all_statistics()
    assert set(every) == {"fast", "slow", "idle", "inner", "outer", "calls"}
    assert every["idle"] == server.control.statistics("idle")


def test_an_ensemble_is_counted_with_its_steps(server: EmbeddedServer) -> None:
    counting = Counting(server.control, "outer")
    for _ in range(3):
        assert (server.control.infer("outer", X, {"X": "FP32"})["Y"] == X["X"]).all()
    server.control.infer("idle", X, {"X": "FP32"})
    own, composing, _ = counting.look()
    assert own.success_count == 3
    assert {name: each.success_count for name, each in composing.items()} == {"fast": 6, "slow": 3}
    assert composing["slow"].inference_count == 6
    assert composing["slow"].compute_infer_ns >= 3 * 20_000_000
    assert composing["slow"].compute_infer_ns > composing["fast"].compute_infer_ns


def test_what_python_code_calls_is_counted(server: EmbeddedServer) -> None:
    counting = Counting(server.control, "calls")
    for _ in range(2):
        assert (server.control.infer("calls", X, {"X": "FP32"})["Y"] == X["X"]).all()
    own, composing, _ = counting.look()
    assert own.success_count == 2
    assert {name: each.success_count for name, each in composing.items()} == {"fast": 4, "slow": 4}
