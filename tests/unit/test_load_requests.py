"""Several different requests: drawn, or as many as the data holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_triton.case import Inputs
from pytest_triton.errors import InputError
from pytest_triton.load import RequestSet, make_request, make_requests

Tensor = tuple[str, str, list[int]]


def make(
    *inputs: Tensor,
    outputs: tuple[Tensor, ...] = (),
    batches: int = 0,
    batch_size: int = 1,
    optional: tuple[str, ...] = (),
    **said: Any,
) -> RequestSet:
    described = [
        [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors]
        for tensors in (inputs, outputs)
    ]
    return make_requests(
        {"inputs": described[0], "outputs": described[1]},
        max_batch_size=batches,
        inputs=Inputs(**said),
        batch_size=batch_size,
        model="m",
        optional=optional,
    )


def values(requests: RequestSet, name: str = "X") -> list[Any]:
    return [request.inputs[name].tolist() for request in requests.requests]


X = ("X", "FP32", [-1])
PAIR = ("Y", "FP32", [2])


def test_as_many_different_requests_are_drawn_as_asked() -> None:
    requests = make(("X", "INT64", [8]), count=5, seed=2)
    assert requests.streams == ((0, 1, 2, 3, 4),)
    assert len({tuple(each) for each in values(requests)}) == 5
    assert values(requests) == values(make(("X", "INT64", [8]), count=5, seed=2))
    assert values(requests) != values(make(("X", "INT64", [8]), count=5, seed=3))
    # A larger number adds requests and leaves those before as they were; make_request makes the first.
    assert values(make(("X", "INT64", [8]), count=7, seed=2))[:5] == values(requests)
    metadata = {"inputs": [{"name": "X", "datatype": "INT64", "shape": [8]}]}
    first = make_request(metadata, max_batch_size=0, inputs=Inputs(count=5, seed=2), batch_size=1, model="m")
    assert first.inputs["X"].tolist() == values(requests)[0]


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ({}, 6),
        ({"data": {"X": 1}}, 1),
        ({"data": {"X": np.ones(3, np.float32)}}, 1),
        ({"data": {"X": (0, 1)}}, 6),
        ({"data": "zero"}, 1),
        ({"data": "zero", "shapes": {"X": ((1, 5),)}}, 6),
        ({"data": {"X": 1}, "shapes": {"X": ((1, 5),)}}, 6),
        ({"data": {"X": 1}, "shapes": {"X": ((5, 5),)}}, 1),
        ({"data": {"X": np.ones((4, 3), np.float32)}}, 4),
        ({"data": lambda rng, inputs: {"X": rng.random(3, dtype=np.float32)}}, 6),
    ],
    ids="random scalar array range zero drawn-zeros drawn-scalar fixed-pair rows call".split(),  # noqa: SIM905
)
def test_there_are_no_more_requests_than_can_differ(said: dict[str, Any], count: int) -> None:
    requests = make(X, **{"shapes": {"X": (3,)}, **said}, count=6)
    assert len(requests.requests) == count


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "BF16", "FP64", "BYTES"])
def test_zero_is_zero_in_every_type(datatype: str) -> None:
    (array,) = values(make(("X", datatype, [2, 2]), data="zero"))
    assert array == [[b"" if datatype == "BYTES" else 0] * 2] * 2


def test_inputs_that_declare_one_range_agree() -> None:
    inputs = ("TOKENS", "INT64", [-1, -1]), ("MASK", "INT64", [-1, -1]), ("IMAGE", "FP32", [-1, 3, -1, -1])
    pair = (1, 900)
    shapes = {"TOKENS": (pair,), "MASK": (pair,), "IMAGE": (3, pair, pair)}
    made = make(*inputs, shapes=shapes, count=20, batches=4, batch_size=2).requests
    sizes = [request.inputs["IMAGE"].shape for request in made]
    for request, (batch, channels, height, _) in zip(made, sizes, strict=True):
        assert request.inputs["TOKENS"].shape == request.inputs["MASK"].shape == (2, height)
        assert (batch, channels) == (2, 3)
        assert 1 <= height <= 900
    assert len({height for *_, height, _ in sizes}) > 10
    assert any(height != width for *_, height, width in sizes)
    # What the other inputs are changes nothing.
    alone = make(inputs[0], shapes={"TOKENS": (pair,)}, count=20, batches=4).requests
    assert [request.inputs["TOKENS"].shape[1] for request in alone] == [height for *_, height, _ in sizes]


def test_both_ends_of_a_range_are_drawn() -> None:
    made = make(X, shapes={"X": ((0, 2),)}, count=60).requests
    assert {request.inputs["X"].size for request in made} == {0, 1, 2}


@pytest.mark.parametrize("pair", [(3, 5), (2, 4), (4, 2), (-1, 4)])
def test_a_range_must_fit_the_models_dims(pair: tuple[int, int]) -> None:
    dims = [4] if pair[0] >= 0 and pair[0] < pair[1] else [-1]
    with pytest.raises(InputError, match=r"the shape .* does not fit"):
        make(("X", "FP32", dims), shapes={"X": (pair,)})


def test_a_callable_makes_each_request_from_one_stream_of_numbers() -> None:
    seen = []

    def data(rng: np.random.Generator, inputs: Any) -> dict[str, Any]:
        seen.append(inputs["X"].shape)
        return {"X": rng.random(inputs["X"].shape, dtype=np.float32)}

    made = make(X, data=data, shapes={"X": ((1, 50),)}, count=8, seed=1)
    assert seen == [request.inputs["X"].shape for request in made.requests]
    assert len(set(seen)) > 3
    assert values(made) == values(make(X, data=data, shapes={"X": ((1, 50),)}, count=8, seed=1))
    with pytest.raises(InputError, match="data is given for 'Z'"):
        make(X, data=lambda rng, inputs: {"Z": 1})


# -- data of several requests


def test_one_more_dimension_holds_several_requests() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    made = make(X, PAIR, data={"X": rows, "Y": [[1, 2]]})
    assert values(made) == rows.tolist()
    assert values(made, "Y") == [[1, 2]] * 3
    assert make(X, data={"X": rows[0]}).streams == ((0,),)


@given(elements=st.integers(1, 12), batch_size=st.integers(1, 12))
def test_a_batch_takes_the_next_elements_until_it_begins_anew(elements: int, batch_size: int) -> None:
    numbers = np.arange(elements, dtype=np.int32).reshape(elements, 1)
    made = make(("X", "INT32", [-1, 1]), data={"X": numbers}, batches=16, batch_size=batch_size)
    sent = [number for request in values(made) for (number,) in request]
    assert sent == [place % elements for place in range(math.lcm(elements, batch_size))]
    assert all(request.inputs["X"].shape == (batch_size, 1) for request in made.requests)


def test_whole_batches_may_be_given() -> None:
    whole = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    made = make(("X", "FP32", [-1, 2]), data={"X": whole}, batches=8, batch_size=2)
    assert values(made) == whole.tolist()
    repeated = make(("X", "FP32", [-1, 2]), data={"X": whole[:, :1]}, batches=8, batch_size=4)
    assert values(repeated) == [[row[0]] * 4 for row in whole.tolist()]
    with pytest.raises(InputError, match=r"array of shape \[2, 2\], and takes \[3, 2\]"):
        make(("X", "FP32", [-1, 2]), data={"X": whole}, batches=8, batch_size=3)


def test_inputs_must_hold_the_same_number_of_requests() -> None:
    data = {"X": np.zeros((3, 4), np.float32), "Y": np.zeros((2, 2), np.float32)}
    with pytest.raises(InputError, match="different numbers of requests: 3 for 'X', 2 for 'Y'"):
        make(X, PAIR, data=data)


def test_what_outputs_must_be_comes_with_the_data() -> None:
    data = {"X": np.float32([[1], [2]]), "Y": np.float32([[1, 1], [2, 2]])}
    made = make(X, outputs=(PAIR,), data=data)
    assert [request.expected and request.expected["Y"].tolist() for request in made.requests] == [[1, 1], [2, 2]]
    assert all(set(request.inputs) == {"X"} for request in made.requests)
    batched = make(("X", "FP32", [-1, 1]), outputs=(("Y", "BF16", [-1, 2]),), data=data, batches=4, batch_size=2)
    (request,) = batched.requests
    assert request.expected is not None
    assert request.expected["Y"].tolist() == [[1, 1], [2, 2]]
    assert request.expected["Y"].dtype == np.float32
    with pytest.raises(InputError, match=r"output 'Y' is given as an array of shape \[3\], and is \[2\]"):
        make(X, outputs=(PAIR,), data={"Y": np.zeros(3, np.float32)}, shapes={"X": (1,)})
    with pytest.raises(InputError, match="output 'Y' is given as 1"):
        make(X, outputs=(PAIR,), data={"Y": 1}, shapes={"X": (1,)})


# -- arrays of every make


@pytest.mark.parametrize(
    ("datatype", "array", "sent"),
    [
        ("FP32", np.arange(12, dtype=np.float32).reshape(3, 4)[::2, ::-1], [[3, 2, 1, 0], [11, 10, 9, 8]]),
        ("INT16", np.array([[1, 2]], dtype=">i2"), [[1, 2]]),
        ("FP64", np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]]),
        ("BF16", np.array([[1, 2.5]], dtype=np.float32), [[1, 2.5]]),
        ("BF16", np.array([[0x3F80, 0x4020]], dtype="<u2").view("V2"), [[1, 2.5]]),
        ("BYTES", np.array([["a", "ö"]]), [[b"a", "ö".encode()]]),
        ("BYTES", np.array([[b"a\0b", "c"]], dtype=object), [[b"a\0b", b"c"]]),
        ("FP16", np.empty((0, 3), np.float16), []),
    ],
)
def test_arrays_are_sent_in_the_types_and_order_that_triton_reads(datatype: str, array: Any, sent: Any) -> None:
    (request,) = make(("X", datatype, [-1, -1]), data={"X": array}).requests
    assert request.inputs["X"].tolist() == sent
    assert request.inputs["X"].flags.c_contiguous
    assert request.inputs["X"].dtype.isnative


@pytest.mark.parametrize("said", [{}, {"data": {"X": 1}}, {"data": {"X": (1, 2)}}, {"data": {"X": np.float32(1)}}])
def test_a_tensor_may_have_no_dimension(said: dict[str, Any]) -> None:
    for request in make(("X", "FP32", []), count=3, **said).requests:
        assert request.inputs["X"].shape == ()
