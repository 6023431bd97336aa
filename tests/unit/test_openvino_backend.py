"""What the embedded server's ``openvino`` backend reads out of a configuration, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_triton.server.embedded.backends.common.refusal import RefusalError
from pytest_triton.server.embedded.backends.openvino.library import shorten
from pytest_triton.server.embedded.backends.openvino.options import Options, read_options


def configure(max_batch_size: int = 0, **parameters: str) -> dict[str, Any]:
    """A configuration in the JSON form that Triton hands over."""
    values = {name: {"string_value": value} for name, value in parameters.items()}
    return {"name": "m", "max_batch_size": max_batch_size, "parameters": values}


def test_nothing_is_set_without_parameters() -> None:
    assert read_options({"name": "m"}) == Options()


def test_the_official_parameters() -> None:
    config = configure(
        8,
        INFERENCE_NUM_THREADS="2",
        NUM_STREAMS="auto",
        PERFORMANCE_HINT="throughput",
        HINT_BF16="yes",
        TARGET_DEVICE="hetero:cpu",
        CPU_EXTENSION_PATH="/lib/own.so",
        ENABLE_BATCH_PADDING="YES",
        RESHAPE_IO_LAYERS="no",
        FORCE_CPU_ONLY_INPUT_TENSORS="no",
    )
    assert read_options(config) == Options(
        properties={
            "INFERENCE_NUM_THREADS": 2,
            "NUM_STREAMS": "AUTO",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16",
        },
        device="HETERO:CPU",
        extension="/lib/own.so",
        auto_batching=True,
        padding=True,
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("INFERENCE_NUM_THREADS", "-1", "a non-negative number, got '-1'"),
        ("COMPILATION_NUM_THREADS", "two", "a non-negative number, got 'two'"),
        ("NUM_STREAMS", "1.5", "AUTO/NUMA/<int_value>, got '1.5'"),
        ("PERFORMANCE_HINT", "FAST", "LATENCY/THROUGHPUT/CUMULATIVE_THROUGHPUT, got 'FAST'"),
        ("HINT_BF16", "true", "YES, got 'true'"),
    ],
)
def test_an_impossible_value_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(RefusalError, match=f"expected the parameter '{name}' to be .*{problem}"):
        read_options(configure(**{name: value}))


def test_what_has_no_effect_is_told() -> None:
    assert read_options(configure(ENABLE_BATCH_PADDING="true", flavour="mint")).warnings == (
        "parameter ENABLE_BATCH_PADDING: 'true' is not YES, so it is off",
        "parameters that mean nothing to openvino: flavour",
    )


def test_automatic_batching_is_for_models_that_batch() -> None:
    assert read_options(configure(8)).auto_batching
    assert not read_options(configure(8, SKIP_OV_DYNAMIC_BATCHSIZE="YES")).auto_batching
    assert not read_options(configure(0)).auto_batching


def test_an_error_says_nothing_of_source_files() -> None:
    error = RuntimeError("Exception from src/a.cpp:1:\nException from src/b.cpp:2:\nNotFound: no such property\n\n")
    assert shorten(error) == "NotFound: no such property"
    assert shorten(RuntimeError("Exception from src/a.cpp:1:")) == "Exception from src/a.cpp:1:"
