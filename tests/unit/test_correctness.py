"""Are the outputs right?"""

import ml_dtypes
import numpy as np
import pytest

from pytest_triton.correctness import EXACT, TOLERANCES, Tolerance, find_difference, find_empty, find_misfit


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


@pytest.mark.parametrize(
    ("got", "expected", "told"),
    [
        (
            [[1, 1.1, 1, 1.25]],
            [[1, 1, 1, 1]],
            "differs most at [0, 3]: 1.25, expected 1.0 (relative 25 %, allowed 0.0001 %)",
        ),
        ([5e9], [1.0], "differs most at [0]: 5000000000.0, expected 1.0 (relative 5e+09, allowed 0.0001 %)"),
        ([0.5, 0], [0, 0], "differs most at [0]: 0.5, expected 0.0 (by 0.5, allowed 1e-09)"),
        ([1, np.inf], [1, np.nan], "differs most at [1]: inf, expected nan; 1 of 2 elements differs"),
        ([np.inf, -np.inf, 1], [np.inf, np.inf, np.inf], "differs most at [1]: -inf, expected inf; 2 of 3"),
    ],
)
def test_the_largest_difference_is_told_where_it_is_and_by_how_much(got, expected, told):
    arrays = [np.array(each, dtype=np.float64) for each in (got, expected)]
    assert told in (find_difference({"Y": arrays[0]}, {"Y": arrays[1]}) or "")


def test_integers_differ_exactly_however_large():
    got, expected = np.array([2**63 - 1, 2**62]), np.array([2**63 - 2, 2**62])
    assert "(by 1, allowed 0); 1 of 2 elements differs" in (find_difference({"Y": got}, {"Y": expected}) or "")


def test_a_tolerance_is_one_of_a_data_type():
    one, other = np.array([127, -128], np.int8), np.array([126, -128], np.int8)
    allowed = {**TOLERANCES, "INT8": Tolerance(0, 1)}
    assert find_difference({"Y": one}, {"Y": other}, None, allowed) is None
    assert "allowed 1" in (find_difference({"Y": one}, {"Y": -other}, None, allowed) or "")
    assert find_difference({"Y": one}, {"Y": other}, {"Y": "INT8"}, {"INT8": EXACT}) is not None


def test_outputs_without_elements_are_equal_when_their_shapes_are():
    assert find_difference({"Y": np.ones((0, 3))}, {"Y": np.ones((0, 3))}) is None
    assert "expected [0, 4]" in (find_difference({"Y": np.ones((0, 3))}, {"Y": np.ones((0, 4))}) or "")


def test_long_strings_are_shown_by_their_beginning():
    told = find_difference({"Y": np.array([b"a" * 999], object)}, {"Y": np.array(["b"], object)}) or ""
    assert told.startswith("output 'Y' differs first at [0]: b'aaa")
    assert len(told) < 200
