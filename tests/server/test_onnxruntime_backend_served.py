"""ONNX models on the embedded server: what the official onnxruntime backend does with the same repository."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import json_format, text_format
from onnx import TensorProto, helper, numpy_helper
from serving import settled_statistics
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from pytest_triton.errors import ModelLoadError, RequestError
from pytest_triton.server import EmbeddedServer, ModelControl

Array = np.ndarray[Any, Any]

TYPES: dict[str, tuple[int, Sequence[Any]]] = {
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "UINT8": (TensorProto.UINT8, [0, 1, 255]),
    "UINT16": (TensorProto.UINT16, [0, 1, 2**16 - 1]),
    "UINT32": (TensorProto.UINT32, [0, 1, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 1, 2**64 - 1]),
    "INT8": (TensorProto.INT8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, [-(2**15), 0, 2**15 - 1]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (TensorProto.FLOAT16, [-1.5, 0.1, 65504.0]),
    "FP32": (TensorProto.FLOAT, [-1.5, 0.1, 3e38]),
    "FP64": (TensorProto.DOUBLE, [-1.5, 0.1, 1e308]),
    "BYTES": (TensorProto.STRING, [b"", "Zürich".encode(), b"a\0b"]),
}
"""Triton's name of a data type -> ONNX's, and values that do not survive a detour through another type."""

ONE = 'backend: "onnxruntime" instance_group { count: 1 kind: KIND_CPU }\n'


def tensor(name: str, data_type: int, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, data_type, shape)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    **weights: Any,
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_identity(shape: Sequence[int | str], **types: int) -> onnx.ModelProto:
    """``IN_<type>`` comes back as ``OUT_<type>``."""
    return make_model(
        [helper.make_node("Identity", [f"IN_{name}"], [f"OUT_{name}"]) for name in types],
        [tensor(f"IN_{name}", data_type, shape) for name, data_type in types.items()],
        [tensor(f"OUT_{name}", data_type, shape) for name, data_type in types.items()],
    )


def make_node_model(
    operator: str,
    into: Sequence[int | str],
    out: Sequence[int | str],
    *more: str,
    attributes: Any = None,
    **weights: Any,
) -> onnx.ModelProto:
    """``y = operator(x, *more)`` on FP32."""
    node = helper.make_node(operator, ["x", *more], ["y"], **(attributes or {}))
    return make_model([node], [tensor("x", TensorProto.FLOAT, into)], [tensor("y", TensorProto.FLOAT, out)], **weights)


def make_models() -> dict[str, tuple[onnx.ModelProto, str]]:
    """Every small model that can be put into a repository as ``model.onnx``, and its config.pbtxt."""
    f32, i64, i32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
    product = make_node_model("MatMul", ["N", 3], ["N", 2], "w", w=np.arange(6, dtype=np.float32).reshape(3, 2))
    convolution = make_node_model("Conv", ["N", 1, 4, 4], ["N", 1, 2, 2], "k", k=np.ones((1, 1, 3, 3), np.float32))
    gather = make_model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", i64, ["N", 1])],
        [tensor("y", f32, ["N", 1])],
        table=np.arange(10, dtype=np.float32),
    )
    places = make_model(
        [helper.make_node("NonZero", ["x"], ["p"]), helper.make_node("Transpose", ["p"], ["y"])],
        [tensor("x", f32, ["N", 2])],
        [tensor("y", i64, ["M", 2])],
    )
    ragged = make_model(
        [
            helper.make_node("Identity", ["x"], ["y"]),
            helper.make_node("Reshape", ["ends", "column"], ["e"]),
        ],
        [tensor("x", f32, ["total"]), tensor("ends", i32, ["N"])],
        [tensor("y", f32, ["total"]), tensor("e", i32, ["N", 1])],
        column=np.array([-1, 1]),
    )
    sequence = make_model(
        [helper.make_node("Sum", ["x", "START", "END"], ["y"])],
        [tensor(name, f32, ["N", 1]) for name in ("x", "START", "END")],
        [tensor("y", f32, ["N", 1])],
    )
    optional = make_model(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        [tensor("x", f32, [3]), tensor("b", f32, [3])],
        [tensor("y", f32, [3])],
        b=np.full(3, 10, dtype=np.float32),
    )
    batched = ONE + "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 }\n"
    return {
        "types": (make_identity(["N", 3], **{name: data_type for name, (data_type, _) in TYPES.items()}), ""),
        "bfloat16": (make_identity(["N", 3], BF16=TensorProto.BFLOAT16, FP32=f32), batched),
        "fixed": (make_identity([1, 3], FP32=f32), ""),
        "scalars": (make_identity(["N"], INT64=i64), ""),
        "scalar": (make_node_model("ReduceSum", [3], [], attributes={"keepdims": 0}), ""),
        "product": (product, batched),
        "convolution": (convolution, ONE),
        "gather": (gather, batched),
        "mixed": (make_identity(["N", "M"], FP32=f32), batched),
        "places": (places, ONE + "max_batch_size: 8"),
        "ragged": (
            ragged,
            batched
            + """
            input { name: "x" data_type: TYPE_FP32 dims: -1 allow_ragged_batch: true }
            batch_input {
              kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ends" data_type: TYPE_INT32 source_input: "x"
            }
            output { name: "y" data_type: TYPE_FP32 dims: -1 } output { name: "e" data_type: TYPE_INT32 dims: 1 }
            batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y" source_input: "x" }
            """,
        ),
        "reshaped": (
            make_identity(["N", 4], FP32=f32),
            ONE
            + """max_batch_size: 2
            input { name: "IN_FP32" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: 4 } }
            output { name: "OUT_FP32" data_type: TYPE_FP32 dims: [ 1, 4 ] reshape { shape: 4 } }
            """,
        ),
        "optional": (
            optional,
            ONE
            + """
            input { name: "x" data_type: TYPE_FP32 dims: 3 }
            input { name: "b" data_type: TYPE_FP32 dims: 3 optional: true }
            output { name: "y" data_type: TYPE_FP32 dims: 3 }
            """,
        ),
        "sequence": (
            sequence,
            ONE
            + """max_batch_size: 2
            input { name: "x" data_type: TYPE_FP32 dims: 1 } output { name: "y" data_type: TYPE_FP32 dims: 1 }
            sequence_batching {
              control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 100 ] } }
              control_input { name: "END" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1000 ] } }
            }
            """,
        ),
        "partial": (product, ONE + 'max_batch_size: 16 input { name: "x" data_type: TYPE_FP32 dims: 3 }'),
        "named": (product, ONE + 'max_batch_size: 2 input { name: "x" } output { name: "y" }'),
        "parameters": (
            product,
            ONE
            + "optimization { graph { level: 1 } }"
            + "".join(
                f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'
                for name, value in {
                    "intra_op_thread_count": "1",
                    "inter_op_thread_count": "2",
                    "execution_mode": "1",
                    "enable_mem_arena": "0",
                    "enable_mem_pattern": "false",
                    "memory.enable_memory_arena_shrinkage": "",
                    "session.use_device_allocator_for_initializers": "1",
                    "flavour": "mint",
                }.items()
            ),
        ),
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("onnx")
    for name, (model, configuration) in make_models().items():
        version = repository / name / "1"
        version.mkdir(parents=True)
        onnx.save(model, version / "model.onnx")
        if configuration:
            (repository / name / "config.pbtxt").write_text(textwrap.dedent(configuration))
    product = make_models()["product"][0]
    folder = repository / "folder" / "1" / "model.onnx"
    folder.mkdir(parents=True)
    onnx.save(product, folder / "model.onnx")
    (repository / "missing" / "1").mkdir(parents=True)
    (repository / "missing" / "config.pbtxt").write_text(ONE)
    corrupt = repository / "corrupt" / "1" / "model.onnx"
    corrupt.parent.mkdir(parents=True)
    corrupt.write_bytes(product.SerializeToString()[:100])
    external = repository / "external"
    (external / "3").mkdir(parents=True)
    (external / "config.pbtxt").write_text(ONE + 'default_model_filename: "net.onnx" max_batch_size: 2')
    onnx.save(product, external / "3" / "net.onnx", save_as_external_data=True, size_threshold=0, location="net.data")
    return repository


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server on the repository, with every model loaded that can be.

    They are loaded side by side: of each load a second is Triton's own waiting for the process that auto-completes.
    """
    broken = {"missing", "corrupt"}
    server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("server"))
    server.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(server.control.load, sorted({path.name for path in repository.iterdir()} - broken)))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def control(server: EmbeddedServer) -> ModelControl:
    return server.control


@pytest.fixture(scope="module")
def answers(control: ModelControl) -> Mapping[str, Array]:
    """The answer of ``types`` to one request with all its values."""
    inputs = {f"IN_{name}": make_values(name) for name in TYPES}
    return control.infer("types", inputs, {f"IN_{name}": name for name in TYPES})


def make_values(name: str) -> Array:
    values = TYPES[name][1]
    kinds = {"BYTES": np.object_, "BOOL": np.bool_, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
    return np.array([values, values], dtype=kinds.get(name, name.lower()))


def ask(control: ModelControl, model: str, values: Any, name: str = "x", data_type: str = "FP32") -> dict[str, Array]:
    dtype = {"FP32": np.float32, "INT64": np.int64}[data_type]
    return control.infer(model, {name: np.asarray(values, dtype=dtype)}, {name: data_type})


def ask_at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Send requests side by side; return answers and errors in the order of ``calls``."""

    def settle(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RequestError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(settle, calls))


class TestDataTypes:
    @pytest.mark.parametrize("name", TYPES)
    def test_every_value_comes_back(self, answers: Mapping[str, Array], name: str) -> None:
        answer = answers[f"OUT_{name}"]
        expected = make_values(name)
        assert answer.dtype == expected.dtype
        np.testing.assert_array_equal(answer, expected)

    def test_bfloat16_comes_back_also_out_of_a_batch(self, control: ModelControl) -> None:
        def send(value: float) -> Callable[[], dict[str, Array]]:
            values = np.full((1, 3), value, dtype=np.float32)
            inputs = {"IN_BF16": values, "IN_FP32": values + 0.1}
            return lambda: control.infer("bfloat16", inputs, {"IN_BF16": "BF16", "IN_FP32": "FP32"})

        before = control.statistics("bfloat16")
        for value, answer in zip(
            (1.5, -2.0, 0.0078125), ask_at_once([send(v) for v in (1.5, -2.0, 0.0078125)]), strict=True
        ):
            np.testing.assert_array_equal(answer["OUT_BF16"], np.full((1, 3), value, dtype=np.float32))
            np.testing.assert_array_equal(
                answer["OUT_FP32"], np.full((1, 3), value, dtype=np.float32) + np.float32(0.1)
            )
        assert control.statistics("bfloat16").execution_count - before.execution_count < 3

    def test_strings_that_are_not_utf8_are_refused_with_the_reason(self, control: ModelControl) -> None:
        inputs = {f"IN_{name}": make_values(name)[:1] for name in TYPES}
        inputs["IN_BYTES"] = np.array([[b"\xff", b"", b""]], dtype=np.object_)
        with pytest.raises(RequestError, match="not UTF-8"):
            control.infer("types", inputs, {f"IN_{name}": name for name in TYPES})


class TestAutoComplete:
    def test_no_configuration_at_all(self, control: ModelControl) -> None:
        configuration = control.configuration("types")
        assert configuration.backend == "onnxruntime"
        assert configuration.platform == "onnxruntime_onnx"
        assert configuration.default_model_filename == "model.onnx"
        assert configuration.max_batch_size == 4
        assert configuration.HasField("dynamic_batching")
        assert {entry.name: entry.data_type for entry in configuration.input} == {
            f"IN_{name}": json_type(name) for name in TYPES
        }
        assert {tuple(entry.dims) for entry in (*configuration.input, *configuration.output)} == {(3,)}

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("fixed", 'max_batch_size: 0 input { name: "IN_FP32" data_type: TYPE_FP32 dims: [ 1, 3 ] }'),
            ("scalar", 'max_batch_size: 0 output { name: "y" data_type: TYPE_FP32 dims: 1 }'),
            (
                "scalars",
                "max_batch_size: 4 dynamic_batching { }"
                ' input { name: "IN_INT64" data_type: TYPE_INT64 dims: 1 reshape { } }',
            ),
            ("convolution", 'max_batch_size: 4 output { name: "y" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }'),
            ("partial", 'max_batch_size: 16 output { name: "y" data_type: TYPE_FP32 dims: 2 } dynamic_batching { }'),
            ("named", 'max_batch_size: 2 input { name: "x" data_type: TYPE_FP32 dims: 3 }'),
            ("reshaped", "max_batch_size: 2"),
        ],
    )
    def test_what_is_filled_in(self, control: ModelControl, model: str, expected: str) -> None:
        wanted = text_format.Parse(expected, ModelConfig())
        actual = control.configuration(model)
        assert actual.max_batch_size == wanted.max_batch_size
        for field in ("input", "output"):
            for entry, found in zip(getattr(wanted, field), getattr(actual, field), strict=False):
                assert json_format.MessageToDict(entry).items() <= json_format.MessageToDict(found).items()
        if wanted.HasField("dynamic_batching") or wanted.max_batch_size == 0 or model in {"named", "reshaped"}:
            assert actual.HasField("dynamic_batching") == wanted.HasField("dynamic_batching")

    def test_the_server_s_default_batch_size(self, repository: Path, tmp_path: Path) -> None:
        argument = "--backend-config=onnxruntime,default-max-batch-size=32"
        server = EmbeddedServer(repository, output=tmp_path, arguments=[argument])
        server.start()
        try:
            server.control.load("convolution")
            assert server.control.configuration("convolution").max_batch_size == 32
        finally:
            server.stop()


def json_type(name: str) -> int:
    return (
        ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"]
        .values_by_name["TYPE_STRING" if name == "BYTES" else f"TYPE_{name}"]
        .number
    )


class TestAnswers:
    @pytest.mark.parametrize("model", ["external", "folder", "named", "partial", "parameters"])
    def test_a_product(self, control: ModelControl, model: str) -> None:
        assert ask(control, model, [[1, 2, 3]])["y"].tolist() == [[16, 22]]

    def test_a_convolution(self, control: ModelControl) -> None:
        assert ask(control, "convolution", np.ones((2, 1, 4, 4)))["y"].tolist() == [[[[9, 9], [9, 9]]]] * 2

    def test_a_scalar_answer_has_the_shape_of_the_configuration(self, control: ModelControl) -> None:
        assert ask(control, "scalar", [1, 2, 3])["y"].tolist() == [6]

    def test_a_scalar_per_batch_element(self, control: ModelControl) -> None:
        answer = ask(control, "scalars", [[7], [8]], "IN_INT64", "INT64")
        assert answer["OUT_INT64"].tolist() == [[7], [8]]

    def test_a_reshape_of_the_configuration(self, control: ModelControl) -> None:
        answer = ask(control, "reshaped", [[[1, 2], [3, 4]]], "IN_FP32")
        assert answer["OUT_FP32"].tolist() == [[[1, 2, 3, 4]]]

    def test_an_optional_input_takes_the_model_s_value_when_it_is_left_out(self, control: ModelControl) -> None:
        assert ask(control, "optional", [1, 2, 3])["y"].tolist() == [11, 12, 13]
        x = np.array([1, 2, 3], dtype=np.float32)
        assert control.infer("optional", {"x": x, "b": x}, {"x": "FP32", "b": "FP32"})["y"].tolist() == [2, 4, 6]

    def test_a_sequence_s_controls_reach_the_model(self, control: ModelControl) -> None:
        x = InferInput("x", [1, 1], "FP32")
        x.set_data_from_numpy(np.array([[1]], dtype=np.float32))
        with InferenceServerClient(control.address) as client:
            answers = [
                client.infer("sequence", [x], sequence_id=7, sequence_start=place == 0, sequence_end=place == 2)
                for place in range(3)
            ]
        assert [answer.as_numpy("y").item() for answer in answers] == [101, 1, 1001]

    def test_a_parameter_without_meaning_is_told_in_the_log(self, server: EmbeddedServer) -> None:
        assert server.log is not None
        assert "model 'parameters': parameters that mean nothing to onnxruntime: flavour" in server.log.read_text()

    def test_only_the_outputs_that_are_asked_for(self, control: ModelControl) -> None:
        inputs = []
        for name in TYPES:
            inputs.append(InferInput(f"IN_{name}", [2, 3], name))
            inputs[-1].set_data_from_numpy(make_values(name))
        with InferenceServerClient(control.address) as client:
            answer = client.infer("types", inputs, outputs=[InferRequestedOutput("OUT_INT8")])
        assert [output["name"] for output in answer.get_response()["outputs"]] == ["OUT_INT8"]
        assert answer.as_numpy("OUT_INT8").tolist() == [[-128, 0, 127]] * 2


class TestBatches:
    def test_requests_at_once_share_runs_and_keep_their_answers(self, control: ModelControl) -> None:
        before = settled_statistics(control, "product")
        rows = [np.full((1 + index % 2, 3), index, dtype=np.float32) for index in range(8)]
        answers = ask_at_once([lambda row=row: ask(control, "product", row)["y"] for row in rows])  # type: ignore[misc]
        after = settled_statistics(control, "product")
        for row, answer in zip(rows, answers, strict=True):
            np.testing.assert_array_equal(answer, row @ np.arange(6, dtype=np.float32).reshape(3, 2))
        assert after.inference_count - before.inference_count == 12
        assert after.execution_count - before.execution_count < 8

    def test_a_bad_request_does_not_fail_its_neighbours(self, control: ModelControl) -> None:
        before = control.statistics("gather")
        places = [3, 99, 5, 7]
        calls = [lambda place=place: ask(control, "gather", [[place]], "x", "INT64")["y"] for place in places]
        answers = ask_at_once(calls)  # type: ignore[arg-type]
        assert [isinstance(answer, RequestError) for answer in answers] == [False, True, False, False]
        assert [answers[index].item() for index in (0, 2, 3)] == [3, 5, 7]
        assert "out of data bounds" in str(answers[1])
        assert control.statistics("gather").execution_count - before.execution_count < 4

    def test_requests_of_different_shapes(self, control: ModelControl) -> None:
        rows = [np.arange(length, dtype=np.float32)[None] for length in (2, 3, 2, 4)]
        calls = [lambda row=row: ask(control, "mixed", row, "IN_FP32")["OUT_FP32"] for row in rows]
        for row, answer in zip(rows, ask_at_once(calls), strict=True):  # type: ignore[arg-type]
            np.testing.assert_array_equal(answer, row)

    def test_ragged_requests_share_a_run(self, control: ModelControl) -> None:
        before = control.statistics("ragged")
        rows = [np.arange(length, dtype=np.float32)[None] for length in (2, 3, 4)]
        answers = ask_at_once([lambda row=row: ask(control, "ragged", row) for row in rows])  # type: ignore[misc]
        for row, answer in zip(rows, answers, strict=True):
            np.testing.assert_array_equal(answer["y"], row)
        assert control.statistics("ragged").execution_count - before.execution_count < 3
        assert max(answer["e"].item() for answer in answers) > 4, "the model saw where more than one request ended"

    def test_an_output_without_the_batch_dimension_is_refused(self, control: ModelControl) -> None:
        with pytest.raises(RequestError, match=r"split the output tensor 'y'.*expected batch size 2.*\[4, 2\]"):
            ask(control, "places", [[1, 2], [3, 4]])

    def test_a_wrong_size_is_the_request_s_error(self, control: ModelControl) -> None:
        with pytest.raises(RequestError, match="x"):
            ask(control, "product", [[1, 2, 3, 4]])


class TestRefusals:
    def test_a_missing_file_is_named(self, control: ModelControl) -> None:
        with pytest.raises(ModelLoadError, match=r"unable to find '.*/missing/1/model.onnx' for model 'missing'"):
            control.load("missing")

    def test_a_corrupt_file_is_named_with_the_reason(self, control: ModelControl) -> None:
        with pytest.raises(ModelLoadError, match=r"'corrupt', .*/corrupt/1/model.onnx: .*Protobuf parsing failed"):
            control.load("corrupt")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ('output { name: "z" data_type: TYPE_FP32 dims: 2 }', "unexpected inference output 'z'"),
            (
                'output { name: "y" data_type: TYPE_FP64 dims: 2 }',
                "configuration expects datatype TYPE_FP64 for output 'y'",
            ),
            ('output { name: "y" data_type: TYPE_FP32 dims: 5 }', "model expects 2 dimensions"),
            (
                'parameters { key: "execution_mode" value { string_value: "2" } }',
                "parameter execution_mode: '2' is neither 0",
            ),
            (
                'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }',
                "Execution Accelerator 'tensorrt' needs TensorrtExecutionProvider",
            ),
        ],
    )
    def test_a_configuration_that_does_not_fit(self, control: ModelControl, change: str, problem: str) -> None:
        with pytest.raises(ModelLoadError, match=problem):
            control.load("product", text_format.Parse(ONE + "max_batch_size: 8 " + change, ModelConfig()))
        assert ask(control, "product", [[0, 0, 0]])["y"].tolist() == [[0, 0]], "the model that was loaded still serves"

    def test_a_batch_size_for_a_model_that_cannot_batch(self, control: ModelControl) -> None:
        with pytest.raises(ModelLoadError, match="does not support batching while non-zero max_batch_size"):
            control.load("fixed", text_format.Parse(ONE + "max_batch_size: 8", ModelConfig()))
