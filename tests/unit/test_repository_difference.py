"""What differs, and whether Triton did as asked."""

import pytest

from pytest_triton.case import Value
from pytest_triton.repository.configuration import parse
from pytest_triton.repository.difference import Difference, differences, unapplied, unified
from pytest_triton.repository.patch import apply

ASKED = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { count: 2 } ]
dynamic_batching { }
parameters { key: "t" value { string_value: "1" } }
"""
# As a server without a GPU answers to ASKED.
APPLIED = """
name: "m"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
runtime: "model.py"
version_policy { latest { num_versions: 1 } }
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { name: "m_0" kind: KIND_CPU count: 2 } ]
dynamic_batching { preferred_batch_size: [ 8 ] }
optimization { input_pinned_memory { enable: true } output_pinned_memory { enable: true } }
default_model_filename: "model.onnx"
parameters { key: "t" value { string_value: "1" } }
"""


def test_what_triton_fills_in_is_as_asked() -> None:
    assert unapplied(parse(ASKED), parse(APPLIED)) == []
    assert unapplied(parse(""), parse(APPLIED)) == []


@pytest.mark.parametrize(
    ("patch", "difference"),
    [
        ({"instance_group.count": 3}, Difference("instance_group.count", 3, 2)),
        ({"instance_group.kind": "KIND_GPU"}, Difference("instance_group.kind", "KIND_GPU", "KIND_CPU")),
        (
            {"instance_group": [{"count": 2}, {"count": 1}]},
            Difference("instance_group[1]", {"count": 1}, None),
        ),
        ({"parameters.t": 2}, Difference("parameters.t", "2", "1")),
        ({"parameters.u": 2}, Difference("parameters.u", "2", None)),
        ({"max_queue_delay": 100}, Difference("dynamic_batching.max_queue_delay_microseconds", 100, 0)),
        ({"preferred_batch_size": [4]}, Difference("dynamic_batching.preferred_batch_size", [4], [8])),
        ({"response_cache.enable": True}, Difference("response_cache", {"enable": True}, None)),
        ({"input.dims": [4]}, Difference("input.dims", [4], [3])),
        (
            {"optimization.input_pinned_memory.enable": False},
            Difference("optimization.input_pinned_memory.enable", False, True),
        ),
    ],
)
def test_what_was_asked_and_not_done(patch: dict[str, Value], difference: Difference) -> None:
    assert unapplied(apply(parse(ASKED), patch), parse(APPLIED), patch) == [difference]


@pytest.mark.parametrize(
    ("patch", "difference"),
    [
        ({"dynamic_batching": None}, Difference("dynamic_batching", None, {"preferred_batch_size": [8]})),
        ({"max_batch_size": 0, "dynamic_batching": {}}, Difference("max_batch_size", 0, 8)),
        ({"parameters.t": None}, Difference("parameters.t", None, "1")),
    ],
)
def test_what_a_patch_removed_or_zeroed_must_stay_so(patch: dict[str, Value], difference: Difference) -> None:
    asked = apply(parse(ASKED), patch)
    assert unapplied(asked, parse(APPLIED)) == []
    assert unapplied(asked, parse(APPLIED), patch) == [difference]


def test_removing_what_triton_always_fills_in_is_no_difference() -> None:
    patch: dict[str, Value] = {"version_policy": None, "instance_group": None, "optimization": None}
    assert unapplied(apply(parse(ASKED), patch), parse(APPLIED), patch) == []


def test_differences_name_paths_as_patches_do() -> None:
    old = parse(ASKED)
    new = apply(old, {"instance_group.count": 1, "dynamic_batching": None, "parameters.t": None, "parameters.u": 2})
    assert [str(difference) for difference in differences(old, new)] == [
        "dynamic_batching: {} -> not set",
        "instance_group.count: 2 -> 1",
        "parameters.t: 1 -> not set",
        "parameters.u: not set -> 2",
    ]
    assert differences(old, old) == []


def test_differences_of_one_element_among_several_name_it() -> None:
    old = parse("instance_group [ { count: 1 }, { count: 2 } ]")
    new = parse("instance_group [ { count: 1 }, { count: 3 }, { kind: KIND_CPU } ]")
    assert differences(old, new) == [
        Difference("instance_group[1].count", 2, 3),
        Difference("instance_group[2]", None, {"kind": "KIND_CPU"}),
    ]


def test_a_unified_diff() -> None:
    assert unified("a: 1\nb: 2\n", "a: 1\nb: 3\n").splitlines()[:2] == ["--- a/config.pbtxt", "+++ b/config.pbtxt"]
    assert unified("a: 1\n", "a: 1\n") == ""
