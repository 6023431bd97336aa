"""Models on the embedded server's ``openvino`` backend: what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from networks import load_openvino, write_ir
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import ModelLoadError, RequestError
from pytest_triton.server import EmbeddedServer, ModelControl

ONE = 'backend: "openvino" instance_group { count: 1 kind: KIND_CPU } '
BATCHING = ONE + "max_batch_size: 2 "
TENSORS = 'input { name: "x" data_type: TYPE_FP32 dims: 3 } output { name: "y" data_type: TYPE_FP32 dims: 3 } '


def make_relu(*shape: int | str) -> onnx.ModelProto:
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", tensors[:1], tensors[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def switch(name: str, value: str = "YES") -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }} '


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelControl]:
    load_openvino()
    folder = tmp_path_factory.mktemp("openvino")
    repository = folder / "models"
    for name, layout in (("relu", ""), ("laid", "N...")):
        (repository / name / "1").mkdir(parents=True)
        write_ir(make_relu("N", 3), repository / name / "1" / "model.xml", layout)
    (repository / "onnx" / "1").mkdir(parents=True)
    onnx.save(make_relu(1, 3), repository / "onnx" / "1" / "model.onnx")
    (repository / "onnx" / "config.pbtxt").write_text(ONE + 'default_model_filename: "model.onnx"')
    server = EmbeddedServer(repository, output=folder / "server")
    server.start()
    try:
        yield server.control
    finally:
        server.stop()


def load(control: ModelControl, model: str, text: str) -> ModelConfig:
    control.load(model, text_format.Parse(text, ModelConfig()))
    return control.configuration(model)


def ask(control: ModelControl, model: str, values: Any, data_type: str = "FP32") -> Any:
    dtype = np.float16 if data_type == "FP16" else np.float32
    return control.infer(model, {"x": np.asarray(values, dtype=dtype)}, {"x": data_type})["y"]


def test_an_onnx_file_is_read_too(control: ModelControl) -> None:
    control.load("onnx")
    assert control.configuration("onnx").max_batch_size == 0
    assert ask(control, "onnx", [[-1, 0, 2]]).tolist() == [[0, 0, 2]]


def test_a_layout_with_a_batch_makes_a_model_batch(control: ModelControl) -> None:
    control.load("laid")
    found = control.configuration("laid")
    assert found.max_batch_size == 4
    assert found.HasField("dynamic_batching")
    assert list(found.input[0].dims) == [3]
    # Also where nothing else is missing.
    assert load(control, "laid", BATCHING + TENSORS).HasField("dynamic_batching")


def test_a_batch_that_is_not_full_is_refused_unless_it_may_be_filled_up(control: ModelControl) -> None:
    assert not load(control, "relu", BATCHING + TENSORS).HasField("dynamic_batching"), "it has no layout"
    assert ask(control, "relu", [[1, 2, 3], [-4, 5, 6]]).tolist() == [[1, 2, 3], [0, 5, 6]]
    with pytest.raises(RequestError, match=r"expected requests with batch size '2', got '1'.*ENABLE_BATCH_PADDING"):
        ask(control, "relu", [[1, 2, 3]])
    load(control, "relu", BATCHING + TENSORS + switch("ENABLE_BATCH_PADDING"))
    assert ask(control, "relu", [[1, -2, 3]]).tolist() == [[1, 0, 3]]


def test_declared_types_are_converted(control: ModelControl) -> None:
    half = TENSORS.replace("FP32 dims: 3 } output", "FP16 dims: 3 } output").replace("TYPE_FP32", "TYPE_INT32")
    load(control, "relu", ONE + half + "max_batch_size: 1")
    answer = ask(control, "relu", [[-1, 2, 3]], "FP16")
    assert answer.dtype == np.int32
    assert answer.tolist() == [[0, 2, 3]]


def test_inputs_take_the_declared_shape_where_that_is_asked_for(control: ModelControl) -> None:
    free = TENSORS.replace("dims: 3", "dims: [ -1, 3 ]") + 'default_model_filename: "model.onnx" '
    with pytest.raises(ModelLoadError, match=r"model expects 2 dimensions \(shape \[1,3\]\).*\(shape \[-1,3\]\)"):
        load(control, "onnx", ONE + free)
    load(control, "onnx", ONE + free + switch("RESHAPE_IO_LAYERS"))
    assert ask(control, "onnx", [[-1, 0, 2], [3, 4, -5]]).tolist() == [[0, 0, 2], [3, 4, 0]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BATCHING + TENSORS.replace('"y"', '"z"'), "unexpected inference output 'z', allowed outputs are: y"),
        (ONE + TENSORS.replace("dims: 3", "dims: 4"), r"\(shape \[-1,3\]\).*\(shape \[4\]\)"),
        (BATCHING + TENSORS + switch("COMPILATION_NUM_THREADS", "1"), "Unsupported property COMPILATION_NUM_THREADS"),
    ],
)
def test_what_openvino_cannot_do_is_named(control: ModelControl, text: str, problem: str) -> None:
    with pytest.raises(ModelLoadError, match=problem):
        load(control, "relu", text)
