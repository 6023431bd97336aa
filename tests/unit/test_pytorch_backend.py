"""What the embedded server's ``pytorch`` backend reads out of a configuration, without a server and without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_triton.server.embedded.backends.common.refusal import RefusalError
from pytest_triton.server.embedded.backends.pytorch.module import check_tensors
from pytest_triton.server.embedded.backends.pytorch.naming import place_inputs, place_outputs
from pytest_triton.server.embedded.backends.pytorch.options import Options, read_options


def configure(inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **fields: Any) -> dict[str, Any]:
    """A configuration in the JSON form that Triton hands over."""
    return {
        "name": "m",
        "input": [{"name": name, "data_type": "TYPE_FP32", "dims": [3]} for name in inputs],
        "output": [{"name": name, "data_type": "TYPE_FP32", "dims": [3]} for name in outputs],
        **fields,
    }


def parametrize(**parameters: str) -> dict[str, Any]:
    return configure(parameters={name: {"string_value": value} for name, value in parameters.items()})


class TestOptions:
    def test_nothing_is_set_without_parameters(self) -> None:
        assert read_options(configure()) == Options()

    def test_the_official_parameters(self) -> None:
        config = parametrize(
            DISABLE_OPTIMIZED_EXECUTION="true",
            INFERENCE_MODE="false",
            DISABLE_CUDNN="1",
            ENABLE_CACHE_CLEANING="on",
            ENABLE_TENSOR_FUSER="0",
            ENABLE_JIT_PROFILING="off",
            ENABLE_JIT_EXECUTOR="True",
            INTRA_OP_THREAD_COUNT="2",
            INTER_OP_THREAD_COUNT="0",
        )
        assert read_options(config) == Options(
            optimized_execution=False,
            inference_mode=False,
            cudnn=False,
            cache_cleaning=True,
            tensor_fuser=False,
            jit_profiling=False,
            jit_executor=True,
            intra_op_threads=2,
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [("INTRA_OP_THREAD_COUNT", "two"), ("INTER_OP_THREAD_COUNT", "-1"), ("INFERENCE_MODE", "perhaps")],
    )
    def test_an_impossible_value_is_named(self, name: str, value: str) -> None:
        with pytest.raises(RefusalError, match=f"parameter {name}: '{value}'"):
            read_options(parametrize(**{name: value}))

    def test_what_has_no_effect_is_told(self) -> None:
        warnings = read_options(parametrize(ENABLE_WEIGHT_SHARING="true", flavour="mint")).warnings
        assert len(warnings) == 2
        assert "ENABLE_WEIGHT_SHARING has no effect" in warnings[0]
        assert warnings[1].endswith("mean nothing to pytorch: flavour")


class TestNaming:
    @pytest.mark.parametrize(
        ("inputs", "places"),
        [
            (["b", "a"], {"b": 1, "a": 0}),
            (["INPUT__1", "INPUT__0"], {"INPUT__1": 1, "INPUT__0": 0}),
            (["a", "INPUT__1"], {"a": 0, "INPUT__1": 1}),
            (["first", "second"], {"first": 0, "second": 1}),
            (["z__x", "second__0"], {"z__x": 0, "second__0": 1}),
            (["my__input__1", "my__input__0"], {"my__input__1": 0, "my__input__0": 1}),
        ],
    )
    def test_inputs_go_by_argument_by_index_or_by_order(self, inputs: list[str], places: dict[str, int]) -> None:
        assert place_inputs(configure(inputs), ["a", "b"]) == places

    def test_what_the_sequence_batcher_adds_has_a_place_too(self) -> None:
        control = {"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0, 1]}
        sequence = {"control_input": [{"name": "start", "control": [control]}]}
        for name in ("x", "other"):
            config = configure([name], sequence_batching=sequence)
            assert place_inputs(config, ["x", "start"]) == {name: 0, "start": 1}

    @pytest.mark.parametrize(
        ("inputs", "problem"),
        [
            (["INPUT__0", "INPUT__2"], "input 'INPUT__2' is not one of the model's 2: a, b"),
            (["INPUT__0", "OTHER__0"], "two of INPUT__0, OTHER__0 have the same index"),
        ],
    )
    def test_an_impossible_index_is_named(self, inputs: list[str], problem: str) -> None:
        with pytest.raises(RefusalError, match=problem):
            place_inputs(configure(inputs), ["a", "b"])

    def test_outputs_go_by_index_or_by_order(self) -> None:
        assert place_outputs(configure(outputs=["OUT__1", "OUT__0"])) == {"OUT__1": 1, "OUT__0": 0}
        assert place_outputs(configure(outputs=["y", "OUT__0"])) == {"y": 0, "OUT__0": 1}


class TestTensors:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"input": []}, "must contain at least one input"),
            ({"output": []}, "must contain at least one output"),
            ({"input": [{"name": "x", "data_type": "TYPE_UINT16", "dims": [3]}]}, "unsupported datatype TYPE_UINT16"),
            ({"input": [{"name": "x", "data_type": "TYPE_STRING", "dims": [1, 3]}]}, "1 dimensional List of String"),
        ],
    )
    def test_what_pytorch_cannot_have_is_named(self, change: dict[str, Any], problem: str) -> None:
        with pytest.raises(RefusalError, match=problem):
            check_tensors({**configure(), **change})

    def test_strings_are_one_dimensional_with_the_batch(self) -> None:
        text = {"name": "x", "data_type": "TYPE_STRING", "dims": [1]}
        check_tensors({**configure(), "input": [text]})
        check_tensors({**configure(), "max_batch_size": 8, "input": [{**text, "reshape": {"shape": []}}]})
        with pytest.raises(RefusalError, match="1 dimensional List of String as input for 'x'"):
            check_tensors({**configure(), "max_batch_size": 8, "input": [text]})
