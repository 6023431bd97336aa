"""Are the outputs right?"""

import ml_dtypes
import numpy as np
import pytest

from pytest_triton.correctness import find_difference, find_empty, find_misfit


def test_empty_outputs_are_found():
    assert find_empty({}) == "the answer carries no output at all"
    assert find_empty({"A": np.ones(2), "B": np.ones((0, 3))}) == "output 'B' is empty (shape [0, 3])"
    assert find_empty({"A": np.ones(2)}) is None


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2, 3, 5), None),
        ((2, 3, 7), None),
        ((2, 4, 5), "output 'A' has shape [2, 4, 5], declared is [-1, 3, -1]"),
        ((2, 3), "output 'A' has shape [2, 3], declared is [-1, 3, -1]"),
    ],
)
def test_shapes_must_be_as_declared(shape, told):
    metadata = {"outputs": [{"name": "A", "shape": ["-1", "3", "-1"]}]}
    assert find_misfit({"A": np.ones(shape)}, metadata) == told


def test_a_declared_output_must_be_there():
    metadata = {"outputs": [{"name": "B", "shape": [1]}]}
    assert find_misfit({"A": np.ones(1)}, metadata) == "output 'B' is missing"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_last_bits_may_differ_and_no_more(dtype):
    expected = np.linspace(0.1, 1, 6, dtype=dtype).reshape(2, 3)
    last_bit = np.nextafter(expected, np.asarray(2, dtype))
    assert find_difference({"A": last_bit}, {"A": expected}) is None
    wrong = expected.copy()
    wrong[1, 2] += np.asarray(0.1, dtype)
    told = find_difference({"A": wrong}, {"A": expected})
    assert told is not None
    assert "'A' differs most at [1, 2]" in told


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([True, False]), np.array([True, True])),
        (np.array([b"a", b"b"], dtype=object), np.array([b"a", b"c"], dtype=object)),
    ],
    ids=["int", "bool", "bytes"],
)
def test_everything_else_is_exact(got, expected):
    assert find_difference({"A": expected}, {"A": expected}) is None
    assert "at [1]" in (find_difference({"A": got}, {"A": expected}) or "")


def test_shape_and_presence_count():
    assert "missing" in (find_difference({}, {"A": np.ones(2)}) or "")
    assert "shape [3]" in (find_difference({"A": np.ones(3)}, {"A": np.ones(2)}) or "")


def test_not_a_number_equals_itself_only():
    nan = np.array([np.nan, 1.0])
    assert find_difference({"A": nan}, {"A": nan}) is None
    assert "at [0]" in (find_difference({"A": nan}, {"A": np.ones(2)}) or "")


@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16])
def test_bf16_is_compared_as_what_it_is(dtype):
    expected = np.array([1.0, 2.0], dtype=np.float32)
    last_bit = np.array([1.0078125, 2.0], dtype=dtype)
    assert find_difference({"A": last_bit}, {"A": expected}, {"A": "BF16"}) is None
    assert find_difference({"A": last_bit}, {"A": expected.astype(ml_dtypes.bfloat16)}) is None
    wrong = np.array([1.0, 2.25], dtype=dtype)
    assert "at [1]: 2.25" in (find_difference({"A": wrong}, {"A": expected}, {"A": "BF16"}) or "")
