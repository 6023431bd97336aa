"""What the embedded server's ``onnxruntime`` backend decides, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_triton.server.embedded.backends.common import bfloat16
from pytest_triton.server.embedded.backends.common.batching import (
    group_requests,
    join_inputs,
    split_output,
)
from pytest_triton.server.embedded.backends.common.completion import (
    complete_config,
    find_incomplete,
    needs_completion,
)
from pytest_triton.server.embedded.backends.common.ragged import compute_batch_input, scatter_output
from pytest_triton.server.embedded.backends.common.refusal import RefusalError
from pytest_triton.server.embedded.backends.common.settings import (
    default_max_batch_size,
    locate_model,
    locate_version,
    parse_backend_settings,
)
from pytest_triton.server.embedded.backends.common.signature import Signature, TensorInfo
from pytest_triton.server.embedded.backends.common.validation import check_config, check_supported
from pytest_triton.server.embedded.backends.onnxruntime.options import RuntimeOptions, read_options
from pytest_triton.server.embedded.backends.onnxruntime.providers import CPU, CUDA, choose_providers
from pytest_triton.server.embedded.backends.onnxruntime.runner import Runner
from pytest_triton.server.embedded.backends.onnxruntime.session import (
    import_onnxruntime,
    read_model_signature,
)
from pytest_triton.server.embedded.backends.onnxruntime.skeleton import read_skeleton, strip_weights
from pytest_triton.server.embedded.backends.onnxruntime.tensors import describe_tensor, read_signature

BATCHED = Signature((TensorInfo("x", "TYPE_FP32", (-1, 3)),), (TensorInfo("y", "TYPE_FP32", (-1, 2)),))
FIXED = Signature((TensorInfo("x", "TYPE_FP32", (1, 3)),), (TensorInfo("y", "TYPE_FP32", (1, 2)),))
X = {"name": "x", "data_type": "TYPE_FP32", "dims": [3]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": [2]}


def configure(**fields: Any) -> dict[str, Any]:
    """A configuration in the JSON form that Triton hands over."""
    return {"name": "m", "max_batch_size": 0, "input": [], "output": [], **fields}


class TestSignature:
    def test_names_and_unknown_dimensions_are_free(self) -> None:
        assert describe_tensor("x", "tensor(float)", ["batch", None, 3]).shape == (-1, -1, 3)

    @pytest.mark.parametrize("onnx_type", ["seq(tensor(float))", "tensor(complex64)", "map(string,tensor(float))"])
    def test_a_type_that_triton_lacks_is_refused_by_name(self, onnx_type: str) -> None:
        with pytest.raises(RefusalError, match="'x' of ONNX type"):
            describe_tensor("x", onnx_type, [1])


class TestCompletion:
    def test_a_free_batch_dimension_gets_the_default_batch_size_and_dynamic_batching(self) -> None:
        assert complete_config(configure(), BATCHED, 4) == configure(
            max_batch_size=4, dynamic_batching={}, input=[X], output=[Y]
        )

    def test_a_fixed_first_dimension_does_not_batch(self) -> None:
        completed = complete_config(configure(), FIXED, 4)
        assert completed["max_batch_size"] == 0
        assert "dynamic_batching" not in completed
        assert completed["input"][0]["dims"] == [1, 3]

    def test_one_output_without_batch_dimension_prevents_batching(self) -> None:
        mixed = Signature(BATCHED.inputs, (*BATCHED.outputs, TensorInfo("loss", "TYPE_FP32", ())))
        completed = complete_config(configure(), mixed, 4)
        assert completed["max_batch_size"] == 0
        assert completed["output"][1] == {"name": "loss", "data_type": "TYPE_FP32", "dims": [1]}

    def test_a_scalar_per_batch_element_is_reshaped(self) -> None:
        scalars = Signature((TensorInfo("x", "TYPE_INT64", (-1,)),), (TensorInfo("y", "TYPE_INT64", (-1,)),))
        declared = complete_config(configure(), scalars, 4)["input"][0]
        assert declared == {"name": "x", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}}

    @pytest.mark.parametrize(
        ("given", "default", "max_batch_size", "batching"),
        [(0, 4, 4, True), (0, 1, 1, False), (0, 0, 0, False), (8, 4, 8, True), (1, 4, 1, False)],
    )
    def test_the_batch_size_that_is_given_stays(
        self, given: int, default: int, max_batch_size: int, batching: bool
    ) -> None:
        completed = complete_config(configure(max_batch_size=given), BATCHED, default)
        assert completed["max_batch_size"] == max_batch_size
        assert ("dynamic_batching" in completed) == batching

    def test_a_scheduler_that_is_set_stays(self) -> None:
        completed = complete_config(configure(sequence_batching={"direct": {}}), BATCHED, 4)
        assert "dynamic_batching" not in completed
        given = {"max_queue_delay_microseconds": 100}
        assert complete_config(configure(dynamic_batching=given), BATCHED, 4)["dynamic_batching"] == given

    def test_a_batch_size_for_a_model_that_cannot_batch_is_refused(self) -> None:
        with pytest.raises(RefusalError, match="does not support batching while non-zero max_batch_size"):
            complete_config(configure(max_batch_size=8), FIXED, 4)

    def test_a_complete_configuration_is_neither_read_nor_changed(self) -> None:
        config = configure(input=[{**X, "dims": [-1, 3]}], output=[{**Y, "dims": [-1, 2]}])
        assert not needs_completion(config)

    def test_only_the_missing_half_is_completed(self) -> None:
        config = configure(max_batch_size=2, input=[{**X, "format": "FORMAT_NONE"}])
        completed = complete_config(config, BATCHED, 4)
        assert completed["input"] == config["input"]
        assert completed["output"] == [Y]

    def test_a_named_input_without_type_and_dims_gets_them(self) -> None:
        config = configure(max_batch_size=2, input=[{"name": "x", "data_type": "TYPE_INVALID", "dims": []}], output=[Y])
        assert find_incomplete(config) == ["x"]
        assert complete_config(config, BATCHED, 4)["input"] == [X]


class TestValidation:
    def test_a_configuration_that_fits_passes(self) -> None:
        check_config(configure(max_batch_size=8, input=[X], output=[Y]), BATCHED)

    def test_an_input_may_be_stricter_than_the_model_and_an_output_may_not(self) -> None:
        free = Signature((TensorInfo("x", "TYPE_FP32", (-1, -1)),), (TensorInfo("y", "TYPE_FP32", (-1, -1)),))
        check_config(configure(max_batch_size=8, input=[X], output=[{**Y, "dims": [-1]}]), free)
        with pytest.raises(RefusalError, match=r"'y'.*\[-1,-1\].*complete shape \[-1,2\]"):
            check_config(configure(max_batch_size=8, input=[X], output=[Y]), free)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"name": "z"}, "unexpected inference input 'z', allowed inputs are: x"),
            ({"data_type": "TYPE_INT8"}, "expects datatype TYPE_INT8 for input 'x', model provides TYPE_FP32"),
            ({"dims": [4]}, r"model expects 2 dimensions \(shape \[-1,3\]\).*complete shape \[-1,4\]"),
            ({"dims": [3, 1]}, "specifies 3 dimensions"),
            ({"optional": True}, "configuration expects 0 inputs, model provides 1"),
            ({"allow_ragged_batch": True}, r"shape \[-1\] for ragged input 'x', model provides \[-1,3\]"),
        ],
    )
    def test_what_does_not_fit_is_named(self, change: dict[str, Any], problem: str) -> None:
        with pytest.raises(RefusalError, match=problem):
            check_config(configure(max_batch_size=8, input=[{**X, **change}], output=[Y]), BATCHED)

    def test_the_model_sees_the_reshape(self) -> None:
        reshaped = {**X, "dims": [1, 3], "reshape": {"shape": [3]}}
        check_config(configure(max_batch_size=8, input=[reshaped], output=[Y]), BATCHED)

    def test_a_batch_size_needs_a_free_first_dimension(self) -> None:
        with pytest.raises(RefusalError, match="first dimension must be -1"):
            check_config(configure(max_batch_size=8, input=[X], output=[Y]), FIXED)

    def test_a_scalar_is_declared_as_one(self) -> None:
        scalar = Signature((TensorInfo("x", "TYPE_FP32", ()),), (TensorInfo("y", "TYPE_FP32", ()),))
        check_config(configure(input=[{**X, "dims": [1]}], output=[{**Y, "dims": [1]}]), scalar)
        with pytest.raises(RefusalError, match=r"scalar tensor 'x' should only provide 1.*\[2\]"):
            check_config(configure(input=[{**X, "dims": [2]}], output=[{**Y, "dims": [1]}]), scalar)

    def test_an_overridable_initializer_is_an_optional_input(self) -> None:
        signature = Signature(FIXED.inputs, FIXED.outputs, (TensorInfo("w", "TYPE_FP32", (3, 2)),))
        optional = {"name": "w", "data_type": "TYPE_FP32", "dims": [3, 2], "optional": True}
        inputs, outputs = [{**X, "dims": [1, 3]}, optional], [{**Y, "dims": [1, 2]}]
        check_config(configure(input=inputs, output=outputs), signature)

    def test_sequence_controls_count_as_inputs(self) -> None:
        start = TensorInfo("START", "TYPE_INT32", (-1, 1))
        control = {"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]}
        batcher = {"control_input": [{"name": "START", "control": [control]}]}
        config = configure(max_batch_size=8, input=[X], output=[Y], sequence_batching=batcher)
        check_config(config, Signature((*BATCHED.inputs, start), BATCHED.outputs))
        with pytest.raises(RefusalError, match="expects 2 inputs, model provides 1"):
            check_config(config, BATCHED)

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"sequence_batching": {"state": [{"input_name": "s"}]}}, "sequence_batching.state"),
            ({"model_transaction_policy": {"decoupled": True}}, "decoupled"),
        ],
    )
    def test_what_python_cannot_do_is_refused_by_name(self, fields: dict[str, Any], named: str) -> None:
        with pytest.raises(RefusalError, match=named):
            check_supported(configure(**fields), "onnxruntime")


def parametrize(**values: str) -> dict[str, Any]:
    return configure(parameters={name: {"string_value": value} for name, value in values.items()})


class TestOptions:
    def test_nothing_set_leaves_the_runtime_its_defaults(self) -> None:
        assert read_options(configure(), {}) == RuntimeOptions()

    def test_the_official_parameters(self) -> None:
        config = parametrize(
            intra_op_thread_count="3",
            inter_op_thread_count="2",
            execution_mode="1",
            enable_mem_arena="off",
            enable_mem_pattern="True",
            flavour="mint",
        )
        config["parameters"]["memory.enable_memory_arena_shrinkage"] = {"string_value": "cpu:0"}
        config["parameters"]["session.use_device_allocator_for_initializers"] = {"string_value": "1"}
        assert read_options(config, {}) == RuntimeOptions(
            intra_op_threads=3,
            inter_op_threads=2,
            parallel=True,
            memory_arena=False,
            memory_pattern=True,
            session_entries={"session.use_device_allocator_for_initializers": "1"},
            run_entries={"memory.enable_memory_arena_shrinkage": "cpu:0"},
            ignored=("flavour",),
        )

    @pytest.mark.parametrize(
        ("level", "expected"),
        [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED"), (2, "ORT_DISABLE_ALL")],
    )
    def test_the_level_of_optimization(self, level: int, expected: str) -> None:
        assert read_options(configure(optimization={"graph": {"level": level}}), {}).graph_level == expected

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("intra_op_thread_count", "many"),
            ("inter_op_thread_count", "-1"),
            ("execution_mode", "2"),
            ("enable_mem_arena", "maybe"),
        ],
    )
    def test_an_impossible_value_is_named_with_its_parameter(self, name: str, value: str) -> None:
        with pytest.raises(RefusalError, match=f"{name}: '{value}'"):
            read_options(parametrize(**{name: value}), {})

    def test_a_global_thread_pool_takes_the_server_s_counts(self) -> None:
        settings = {"enable-global-threadpool": "1", "intra_op_thread_count": "5"}
        assert read_options(parametrize(intra_op_thread_count="2"), settings).intra_op_threads == 5


class TestProviders:
    def accelerate(self, kind: str, name: str, **parameters: str) -> dict[str, Any]:
        entry = {"name": name, "parameters": parameters}
        return configure(optimization={"execution_accelerators": {f"{kind}_execution_accelerator": [entry]}})

    def test_a_cpu_instance_runs_on_the_cpu(self) -> None:
        assert choose_providers(configure(), "CPU", 0, [CUDA, CPU]) == [(CPU, {})]

    def test_a_gpu_instance_needs_cuda(self) -> None:
        assert choose_providers(configure(), "GPU", 1, [CUDA, CPU]) == [(CUDA, {"device_id": "1"}), (CPU, {})]
        with pytest.raises(RefusalError, match=r"KIND_GPU needs the CUDA execution provider.*onnxruntime-gpu"):
            choose_providers(configure(), "GPU", 0, [CPU])

    @pytest.mark.parametrize(("kind", "name"), [("gpu", "tensorrt"), ("gpu", "cuda"), ("cpu", "openvino")])
    def test_an_accelerator_that_is_not_installed_is_refused_by_name(self, kind: str, name: str) -> None:
        with pytest.raises(RefusalError, match=f"'{name}' needs .*official container"):
            choose_providers(self.accelerate(kind, name), "CPU", 0, [CPU])

    def test_an_unknown_accelerator_is_refused_by_name(self) -> None:
        with pytest.raises(RefusalError, match="unknown Execution Accelerator 'abacus'"):
            choose_providers(self.accelerate("cpu", "abacus"), "CPU", 0, [CPU])

    def test_tensorrt_goes_before_cuda_with_its_parameters_translated(self) -> None:
        config = self.accelerate("gpu", "tensorrt", precision_mode="FP16", max_workspace_size_bytes="1024")
        tensorrt = "TensorrtExecutionProvider"
        providers = choose_providers(config, "GPU", 0, [tensorrt, CUDA, CPU])
        options = {"trt_fp16_enable": "1", "trt_max_workspace_size": "1024", "device_id": "0"}
        assert providers[0] == (tensorrt, options)
        assert [name for name, _ in providers[1:]] == [CUDA, CPU]

    def test_old_cuda_parameters_of_the_model(self) -> None:
        config = parametrize(cudnn_conv_algo_search="1", gpu_mem_limit="99")
        assert choose_providers(config, "GPU", 0, [CUDA])[0][1] == {
            "cudnn_conv_algo_search": "HEURISTIC",
            "gpu_mem_limit": "99",
            "device_id": "0",
        }
        with pytest.raises(RefusalError, match="cudnn_conv_algo_search: '7'"):
            choose_providers(parametrize(cudnn_conv_algo_search="7"), "GPU", 0, [CUDA])


class TestBatching:
    def test_requests_of_equal_shape_share_a_run(self) -> None:
        requests = [{"x": np.zeros((1, 2))}, {"x": np.zeros((1, 3))}, {"x": np.zeros((4, 2))}]
        assert group_requests(requests, batching=True) == [[0, 2], [1]]
        assert group_requests(requests, batching=True, ragged={"x"}) == [[0, 1, 2]]
        assert group_requests(requests, batching=False) == [[0], [1], [2]]

    def test_a_request_without_an_optional_input_runs_apart(self) -> None:
        x = np.zeros((1, 2))
        assert group_requests([{"x": x}, {"x": x, "mask": x}], batching=True) == [[0], [1]]

    def test_joined_inputs_split_into_the_same_requests(self) -> None:
        requests = [{"x": np.full((size, 2), size)} for size in (1, 3, 2)]
        joined = join_inputs(requests)["x"]
        parts = split_output("y", joined, [1, 3, 2])
        for part, request in zip(parts, requests, strict=True):
            np.testing.assert_array_equal(part, request["x"])
            assert part.base is joined, "a view, not a copy"

    def test_a_request_alone_is_not_copied(self) -> None:
        x = np.zeros((2, 2))
        assert join_inputs([{"x": x}])["x"] is x

    @pytest.mark.parametrize("output", [np.zeros(()), np.zeros((1, 2)), np.zeros((7, 2))])
    def test_an_output_without_the_batch_dimension_is_refused(self, output: np.ndarray[Any, Any]) -> None:
        with pytest.raises(RefusalError, match=r"split the output tensor 'y'.*expected batch size 3"):
            split_output("y", output, [1, 2])


class TestRagged:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("BATCH_ELEMENT_COUNT", [2, 3]),
            ("BATCH_ACCUMULATED_ELEMENT_COUNT", [2, 5]),
            ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", [0, 2, 5]),
            ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", [0, 0, 0]),
            ("BATCH_ITEM_SHAPE", [[2], [3]]),
            ("BATCH_ITEM_SHAPE_FLATTEN", [2, 3]),
        ],
    )
    def test_batch_inputs_of_a_request_of_two_and_one_of_three_elements(self, kind: str, expected: list[Any]) -> None:
        tensor = compute_batch_input(kind, "TYPE_INT32", [(1, 2), (1, 3)])
        assert tensor.tolist() == expected
        assert tensor.dtype == np.int32

    def test_a_flat_output_is_scattered_to_the_shapes_of_the_inputs(self) -> None:
        parts = scatter_output("y", np.arange(5), [-1], [(1, 2), (1, 3)])
        assert [part.tolist() for part in parts] == [[[0, 1]], [[2, 3, 4]]]
        with pytest.raises(RefusalError, match="do not account for its 6 elements"):
            scatter_output("y", np.arange(6), [-1], [(1, 2), (1, 3)])


class TestSettings:
    def test_the_backend_s_own_setting_wins_over_the_shared_one(self) -> None:
        command = ["tritonserver", "--backend-config=default-max-batch-size=8", "--backend-config=python,x=1"]
        assert default_max_batch_size(parse_backend_settings(command, "onnxruntime")) == 8
        command += ["--backend-config", "onnxruntime,default-max-batch-size=16"]
        assert default_max_batch_size(parse_backend_settings(command, "onnxruntime")) == 16
        assert default_max_batch_size(parse_backend_settings([], "onnxruntime")) == 4

    def test_an_impossible_batch_size_is_named(self) -> None:
        with pytest.raises(RefusalError, match="default-max-batch-size: 'x'"):
            default_max_batch_size({"default-max-batch-size": "x"})

    def test_a_model_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RefusalError, match=f"unable to find '{tmp_path}/model.onnx' for model 'm'"):
            locate_model(tmp_path, "model.onnx", "m")
        (tmp_path / "model.onnx").touch()
        assert locate_model(tmp_path, "model.onnx", "m") == tmp_path / "model.onnx"

    @pytest.mark.parametrize("filename", ["/etc/passwd", "../net.onnx", "a/../../net.onnx"])
    def test_a_filename_does_not_lead_out_of_the_version_folder(self, tmp_path: Path, filename: str) -> None:
        with pytest.raises(RefusalError, match="leads out of its version's folder"):
            locate_model(tmp_path, filename, "m")

    def test_a_filename_with_folders_does_not_hide_the_version_folder(self) -> None:
        assert locate_version("/repository/m/1", "net.onnx") == Path("/repository/m/1")
        assert locate_version("/repository/m/1/onnx", "onnx/net.onnx") == Path("/repository/m/1")


def make_weighted_model(*, listed: bool) -> onnx.ModelProto:
    """``y = Reshape(x @ w, s)``, with a large ``w`` and a small ``s``; ``listed``: initializers are inputs too."""
    weight = numpy_helper.from_array(np.ones((3, 1000), dtype=np.float32), "w")
    shape = numpy_helper.from_array(np.array([0, 10, 100]), "s")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])]
    if listed:
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 1000]))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Reshape", ["p", "s"], ["y"])],
        "g",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight, shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class TestSkeleton:
    @pytest.mark.parametrize("listed", [False, True])
    def test_weights_become_inputs_and_small_initializers_stay(self, listed: bool) -> None:
        skeleton = strip_weights(make_weighted_model(listed=listed).SerializeToString())
        model = onnx.load_from_string(skeleton.model)
        assert skeleton.weights == {"w"}
        assert [tensor.name for tensor in model.graph.initializer] == ["s"]
        assert [tensor.name for tensor in model.graph.input] == ["x", "w"]
        assert [dim.dim_value for dim in model.graph.input[1].type.tensor_type.shape.dim] == [3, 1000]
        assert len(skeleton.model) < 500

    @pytest.mark.parametrize("listed", [False, True])
    def test_the_signature_is_that_of_the_whole_model(self, listed: bool, tmp_path: Path) -> None:
        onnx.save(make_weighted_model(listed=listed), tmp_path / "model.onnx")
        signature = read_model_signature(import_onnxruntime(), tmp_path / "model.onnx", RuntimeOptions(), "m")
        assert signature.inputs == (TensorInfo("x", "TYPE_FP32", (-1, 3)),)
        assert signature.outputs == (TensorInfo("y", "TYPE_FP32", (-1, 10, 100)),), "inferred from the value of s"

    def test_a_small_model_stays_as_it_is(self) -> None:
        graph = helper.make_graph([], "g", [], [])
        data = helper.make_model(graph).SerializeToString()
        assert strip_weights(data).model == data

    @pytest.mark.parametrize("cut", [10, 200, -1])
    def test_a_file_cut_short_is_refused(self, cut: int) -> None:
        with pytest.raises(RefusalError, match="cut short"):
            strip_weights(make_weighted_model(listed=False).SerializeToString()[:cut])

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").touch()
        with pytest.raises(RefusalError, match="is empty"):
            read_skeleton(tmp_path / "model.onnx")


def open_runner(model: onnx.ModelProto) -> Runner:
    ort = import_onnxruntime()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Runner(ort, session, read_signature(session), None)


def make_identity(**types: int) -> onnx.ModelProto:
    """Each input comes back as ``<name>_out``; all are vectors."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in types],
        "g",
        [helper.make_tensor_value_info(name, data_type, ["N"]) for name, data_type in types.items()],
        [helper.make_tensor_value_info(f"{name}_out", data_type, ["N"]) for name, data_type in types.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class TestRunner:
    def test_bfloat16_beside_numbers(self) -> None:
        runner = open_runner(make_identity(b=TensorProto.BFLOAT16, f=TensorProto.DOUBLE))
        outputs = runner.run({"b": np.array([1, 2], np.uint16), "f": np.array([0.1, 2.0])}, ["b_out", "f_out"])
        assert outputs["b_out"].tolist() == [1, 2]
        assert outputs["f_out"].tolist() == [0.1, 2.0]

    def test_bfloat16_beside_a_string_input_is_refused(self) -> None:
        with pytest.raises(RefusalError, match="BF16 tensors beside the string input 's'"):
            open_runner(make_identity(b=TensorProto.BFLOAT16, s=TensorProto.STRING))

    def test_strings_that_are_not_utf8_go_in_but_not_out(self) -> None:
        encoder = helper.make_node(
            "LabelEncoder", ["s"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[7], default_int64=-1
        )
        strings = helper.make_tensor_value_info("s", TensorProto.STRING, ["N"])
        numbers = helper.make_tensor_value_info("y", TensorProto.INT64, ["N"])
        graph = helper.make_graph([encoder], "g", [strings], [numbers])
        domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        runner = open_runner(helper.make_model(graph, opset_imports=domains, ir_version=8))
        values = np.array([b"\xff", b"a", b"ab", b"a"], object)
        assert runner.run({"s": values}, ["y"])["y"].tolist() == [-1, 7, -1, 7]
        with pytest.raises(RefusalError, match="not UTF-8"):
            open_runner(make_identity(s=TensorProto.STRING)).run({"s": values}, ["s_out"])

    def test_a_scalar_input_comes_as_one_element(self) -> None:
        scalar = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
        graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [scalar], [out])
        runner = open_runner(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
        output = runner.run({"x": np.array([3], np.float32)}, ["y"])["y"]
        assert (output.shape, output.item()) == ((), -3)


class TestBFloat16:
    def test_a_capsule_brings_its_bits_back(self) -> None:
        bits = np.arange(6, dtype=np.uint16).reshape(2, 3)
        np.testing.assert_array_equal(bfloat16.read_capsule(bfloat16.write_capsule(bits)), bits)

    def test_an_empty_tensor_has_a_shape_too(self) -> None:
        assert bfloat16.read_capsule(bfloat16.write_capsule(np.empty((0, 3), dtype=np.uint16))).shape == (0, 3)
