"""TorchScript models on the embedded server's ``pytorch`` backend: what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from interpreters import find_torch
from networks import write_script
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import ModelLoadError, RequestError
from pytest_triton.server import EmbeddedServer, ModelControl

MODELS = """
import os, sys, torch
from typing import Dict, List


class Difference(torch.nn.Module):
    def forward(self, first, second):
        return first - second, (first + second).to(torch.int64)


class Dictionary(torch.nn.Module):
    def forward(self, tensors: Dict[str, torch.Tensor]):
        return tensors["plus"] - tensors["minus"]


class Strings(torch.nn.Module):
    def forward(self, x: List[str]):
        return [text + "!" for text in x]


class Table(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(10.0))

    def forward(self, x):
        return self.table[x]


for model in (Difference(), Dictionary(), Strings(), Table()):
    folder = os.path.join(sys.argv[1], type(model).__name__.lower(), "1")
    os.makedirs(folder)
    torch.jit.script(model).save(os.path.join(folder, "model.pt"))
"""
ONE = 'platform: "pytorch_libtorch" instance_group { count: 1 kind: KIND_CPU } '


def declare(kind: str, name: str, data_type: str = "FP32", dims: int = -1) -> str:
    return f'{kind} {{ name: "{name}" data_type: TYPE_{data_type} dims: {dims} }} '


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelControl]:
    folder = tmp_path_factory.mktemp("pytorch")
    python = find_torch(folder / "python")
    write_script(python, MODELS, folder / "models")
    # Nothing is completed here anyway, and each load is a second shorter so.
    arguments = ["--disable-auto-complete-config"]
    server = EmbeddedServer(folder / "models", output=folder / "server", python=python, arguments=arguments)
    server.start()
    try:
        yield server.control
    finally:
        server.stop()


def load(control: ModelControl, model: str, *text: str) -> None:
    control.load(model, text_format.Parse(ONE + "".join(text), ModelConfig()))


def ask(control: ModelControl, model: str, data_type: str = "FP32", **inputs: Any) -> dict[str, Any]:
    dtype = {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}[data_type]
    arrays = {name: np.asarray(values, dtype=dtype) for name, values in inputs.items()}
    return control.infer(model, arrays, dict.fromkeys(arrays, data_type))


def test_inputs_and_outputs_go_by_index(control: ModelControl) -> None:
    outputs = declare("output", "OUTPUT__1", "INT64") + declare("output", "OUTPUT__0")
    load(control, "difference", declare("input", "INPUT__1"), declare("input", "INPUT__0"), outputs)
    answer = ask(control, "difference", INPUT__1=[2], INPUT__0=[5])
    assert (answer["OUTPUT__0"].tolist(), answer["OUTPUT__1"].tolist()) == ([3], [7])


def test_inputs_go_by_the_arguments_of_forward(control: ModelControl) -> None:
    load(control, "difference", declare("input", "second"), declare("input", "first"), declare("output", "difference"))
    assert ask(control, "difference", second=[2], first=[5])["difference"].tolist() == [3]


def test_a_dictionary_of_tensors(control: ModelControl) -> None:
    load(control, "dictionary", declare("input", "minus"), declare("input", "plus"), declare("output", "y"))
    assert ask(control, "dictionary", minus=[2], plus=[5])["y"].tolist() == [3]


def test_lists_of_strings(control: ModelControl) -> None:
    load(control, "strings", declare("input", "x", "STRING"), declare("output", "y", "STRING"))
    texts = ["Zürich".encode(), b""]
    assert ask(control, "strings", "BYTES", x=texts)["y"].tolist() == ["Zürich!".encode(), b"!"]
    with pytest.raises(RequestError, match="not UTF-8"):
        ask(control, "strings", "BYTES", x=[b"\xff"])


def test_a_bad_request_does_not_fail_its_neighbours(control: ModelControl) -> None:
    batching = "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 } "
    load(control, "table", batching, declare("input", "x", "INT64", 1), declare("output", "y", "FP32", 1))
    before = control.statistics("table")

    def send(place: int) -> Any:
        try:
            return ask(control, "table", "INT64", x=[[place]])["y"].item()
        except RequestError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, [3, 99, 5, 7]))
    assert [answers[place] for place in (0, 2, 3)] == [3, 5, 7]
    assert "PyTorch execute failure" in answers[1]
    assert control.statistics("table").execution_count - before.execution_count < 4


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ([("y", "FP16")], "expects datatype TYPE_FP16 for output 'y', model provides TYPE_FP32"),
        ([("OUT__2", "FP32")], "OUT__2 in the model configuration refers to an output index.* has 2 outputs"),
    ],
)
def test_what_the_model_does_not_return_is_the_request_s_error(
    control: ModelControl, outputs: list[tuple[str, str]], problem: str
) -> None:
    declared = [declare("output", name, data_type) for name, data_type in outputs]
    load(control, "difference", declare("input", "first"), declare("input", "second"), *declared)
    with pytest.raises(RequestError, match=problem):
        ask(control, "difference", first=[1], second=[2])


def test_a_configuration_that_does_not_fit(control: ModelControl) -> None:
    with pytest.raises(ModelLoadError, match="configuration expects 1 inputs, model provides 2"):
        load(control, "difference", declare("input", "first"), declare("output", "y"))


def test_the_switches_of_the_interpreter_are_taken(control: ModelControl) -> None:
    switches = {
        "DISABLE_OPTIMIZED_EXECUTION": "true",
        "INFERENCE_MODE": "false",
        "ENABLE_JIT_EXECUTOR": "false",
        "ENABLE_JIT_PROFILING": "false",
        "ENABLE_TENSOR_FUSER": "true",
        "INTER_OP_THREAD_COUNT": "1",
    }
    parameters = [
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in switches.items()
    ]
    load(control, "table", declare("input", "x", "INT64"), declare("output", "y"), *parameters)
    assert ask(control, "table", "INT64", x=[4])["y"].tolist() == [4]
