"""Request tensors from a model's metadata."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import triton_to_np_dtype

from pytest_triton.case import Inputs
from pytest_triton.errors import InputError
from pytest_triton.load import Request, make_request
from pytest_triton.load.encoding import encode_http

DATATYPES = "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FP16 BF16 FP32 FP64 BYTES".split()  # noqa: SIM905


def metadata(*inputs: tuple[str, str, list[int]]) -> dict[str, Any]:
    """Triton's answer to ``GET v2/models/m``, as far as it matters here."""
    return {"name": "m", "inputs": [{"name": n, "datatype": d, "shape": s} for n, d, s in inputs]}


def make(
    *inputs: tuple[str, str, list[int]],
    batches: int = 0,
    batch_size: int = 1,
    optional: tuple[str, ...] = (),
    **said: Any,
) -> Request:
    return make_request(
        metadata(*inputs),
        max_batch_size=batches,
        inputs=Inputs(**said),
        batch_size=batch_size,
        model="m",
        optional=optional,
    )


def one(
    datatype: str = "FP32", shape: list[int] | None = None, data: Any = None, **options: Any
) -> np.ndarray[Any, Any]:
    """The only tensor of a model with one input ``X``."""
    given = {} if data is None else {"data": {"X": data}}
    return make(("X", datatype, [4] if shape is None else shape), **given, **options).inputs["X"]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_random_data_of_every_type_is_in_its_range_and_can_be_sent(datatype: str) -> None:
    request = make(("X", datatype, [50, 3]))
    array = request.inputs["X"]
    assert array.shape == (50, 3)
    assert array.dtype == np.dtype(triton_to_np_dtype(datatype))
    if datatype == "BYTES":
        assert all(isinstance(word, bytes) and 0 < len(word) < 10 for word in array.flat)
    else:
        numbers = array.astype(np.float64)
        assert numbers.min() >= 0
        assert numbers.max() < (10 if "INT" in datatype else 1 if datatype != "BOOL" else 1.5)
        assert len(np.unique(numbers)) > 1
    assert encode_http(request, host="h:1", headers={}).startswith(b"POST /v2/models/m/infer HTTP/1.1\r\n")


@pytest.mark.parametrize("datatype", DATATYPES)
def test_the_same_seed_gives_the_same_tensors(datatype: str) -> None:
    def draw(seed: int) -> list[Any]:
        return make(("X", datatype, [30]), seed=seed).inputs["X"].tolist()  # type: ignore[no-any-return]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_same_seed_gives_the_same_tensors_in_another_process() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_load_inputs import one; "
        "print(one('INT32', [20]).tolist(), one('BYTES', [5]).tolist())"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == f"{one('INT32', [20]).tolist()} {one('BYTES', [5]).tolist()}"


def test_an_inputs_values_do_not_depend_on_the_others() -> None:
    alone = make(("A", "FP32", [5])).inputs["A"]
    beside = make(("B", "FP32", [5]), ("A", "FP32", [5])).inputs
    assert alone.tolist() == beside["A"].tolist()
    assert beside["A"].tolist() != beside["B"].tolist()


def test_the_batch_dimension_is_put_in_front() -> None:
    request = make(("X", "FP32", [-1, 3]), batches=8, batch_size=5)
    assert request.inputs["X"].shape == (5, 3)
    assert request.datatypes == {"X": "FP32"}


def test_a_declared_shape_settles_free_dimensions() -> None:
    assert one("FP32", [-1, 3, -1], shapes={"X": (2, 3, 4)}).shape == (2, 3, 4)
    assert one("FP32", [-1, 3, -1], shapes={"X": (3, 7)}, batches=4, batch_size=2).shape == (2, 3, 7)
    assert one("FP32", [], shapes={"X": ()}).shape == ()


def test_a_free_dimension_without_a_shape_says_what_to_write() -> None:
    with pytest.raises(InputError, match="'X' has free dimensions") as caught:
        one("FP32", [-1, 3, -1, -1], batches=4)
    assert 'Write @pytest.mark.triton_input(shape={"X": [3, 16, 16]})' in caught.value.hint
    assert "without the batch dimension" in caught.value.hint
    assert caught.value.model == "m"


@pytest.mark.parametrize("shape", [(3,), (4, 5), (3, 5, 6), (3, -1), ()])
def test_a_shape_must_fit_the_models_dims(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"does not fit the model's dims \[3, -1\]"):
        one("FP32", [3, -1], shapes={"X": shape})


@pytest.mark.parametrize("said", [{"shapes": {"IMAGE_": (4,)}}, {"data": {"IMAGE_": 1}}])
def test_an_unknown_input_is_answered_with_the_nearest(said: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="'IMAGE_', which is no input") as caught:
        make(("IMAGE", "FP32", [4]), ("MASK", "FP32", [4]), **said)
    assert "did you mean 'IMAGE'?" in caught.value.hint


@pytest.mark.parametrize(
    ("batches", "batch_size", "problem"),
    [(0, 2, "does not batch"), (4, 5, "max_batch_size of 4"), (4, 0, "batch size of 0")],
)
def test_a_batch_size_must_fit_the_model(batches: int, batch_size: int, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        one("FP32", [-1, 4], batches=batches, batch_size=batch_size)


def test_optional_inputs_are_left_out_unless_something_is_said_of_them() -> None:
    inputs = ("A", "FP32", [2]), ("B", "FP32", [2]), ("C", "FP32", [-1])
    assert set(make(*inputs, optional=("B", "C")).inputs) == {"A"}
    assert set(make(*inputs, optional=("B", "C"), data={"B": 1}).inputs) == {"A", "B"}
    assert set(make(*inputs, optional=("B", "C"), shapes={"C": (3,)}).inputs) == {"A", "C"}


# -- data that is given


@pytest.mark.parametrize(
    ("datatype", "value", "seen"),
    [
        ("FP32", 2, 2.0),
        ("INT8", -3, -3),
        ("INT8", 4.0, 4),
        ("BOOL", True, True),
        ("BYTES", "word", b"word"),
        ("BYTES", b"\xff", b"\xff"),
        ("BF16", 0.5, 0.5),
    ],
)
def test_a_scalar_fills_the_tensor(datatype: str, value: Any, seen: Any) -> None:
    assert one(datatype, data=value).tolist() == [seen] * 4


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "BF16", "INT8", "UINT64"])
def test_a_range_is_drawn_from(datatype: str) -> None:
    numbers = one(datatype, [500], data=(3, 6)).astype(np.float64)
    assert numbers.min() >= 3
    assert numbers.max() < 6
    assert len(np.unique(numbers)) > 2


def test_an_array_is_sent_as_it_is() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert one("FP32", [3, 4], data=array).tolist() == array.tolist()
    assert one("FP32", [-1, 4], data=array).tolist() == array.tolist()
    assert one("FP32", [4, 3], data=array.T).tolist() == array.T.tolist()
    assert one("BYTES", [2], data=np.array(["a", "ö"])).tolist() == [b"a", "ö".encode()]
    assert one("FP32", [2], data=[1, 2]).tolist() == [1.0, 2.0]


def test_an_array_for_one_is_repeated_over_the_batch() -> None:
    row = np.arange(3, dtype=np.float32)
    for array in (row, row[np.newaxis]):
        assert one("FP32", [-1, 3], data=array, batches=8, batch_size=2).tolist() == [[0, 1, 2], [0, 1, 2]]
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert one("FP32", [-1, 3], data=whole, batches=8, batch_size=2).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("datatype", "value", "problem"),
    [
        ("FP32", np.zeros(4), "FP32 and is given an array of float64"),
        ("INT64", np.zeros(4, dtype=np.int32), "array of int32"),
        ("FP32", np.zeros(5, dtype=np.float32), r"array of shape \[5\], and takes \[4\]"),
        ("FP32", np.zeros((1, 1, 4), dtype=np.float32), "shape"),
        ("FP32", "word", "cannot be filled with 'word'"),
        ("FP32", float("nan"), "cannot be filled"),
        ("INT8", 300, "cannot hold 300"),
        ("INT8", 1.5, "cannot hold 1.5"),
        ("BOOL", 1, "cannot be filled with 1"),
        ("BYTES", 1, "BYTES and cannot be filled"),
        ("BYTES", (0, 1), "no range"),
        ("FP32", (1, 1), "cannot be drawn"),
        ("FP32", (1, 2, 3), "cannot be drawn"),
        ("UINT8", (0, 1000), "cannot be drawn"),
        ("INT8", (0.5, 2), "cannot be drawn"),
        ("INT32", ["a"], "makes no such array"),
        ("INT32", ["1", "2", "3", "4"], "'1' is no number"),
        ("INT32", [1, 2, 3.5, 4], "cannot hold 3.5"),
        ("UINT8", [1, -2, 3, 4], "cannot hold -2"),
        ("UINT8", [1, 2, 256, 4], "cannot hold 256"),
        ("INT8", [1, float("nan"), 3, 4], "makes no such array"),
        ("BOOL", [True, False, 2, 1], "cannot hold 2"),
        ("FP32", [[1, 2], [3]], "differ in length"),
        ("BYTES", ["a", 1, "b", "c"], "BYTES and is given 1"),
        ("BYTES", np.array(["a", None, "b", "c"], dtype=object), "BYTES and is given None"),
        ("FP32", np.zeros((0, 4), dtype=np.float32), "is empty"),
    ],
)
def test_data_that_does_not_fit_is_refused(datatype: str, value: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        one(datatype, data=value)
    assert "'X'" in caught.value.problem
    assert caught.value.hint


def test_an_npz_gives_arrays_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=np.ones(4, dtype=np.float32))
    request = make(("X", "FP32", [4]), ("Y", "FP32", [2]), data=tmp_path / "data.npz")
    assert request.inputs["X"].tolist() == [1.0] * 4
    assert request.inputs["Y"].shape == (2,)


@pytest.mark.parametrize("name", ["missing.npz", "data.json", "broken.npz"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.npz").write_text("no zip")
    with pytest.raises(InputError, match=name):
        make(("X", "FP32", [4]), data=str(tmp_path / name))


def test_a_callable_makes_the_arrays_from_the_seed() -> None:
    def data(rng: np.random.Generator, inputs: Any) -> dict[str, Any]:
        assert inputs["X"].shape == (2, -1)
        assert inputs["X"].datatype == "FP32"
        return {"X": rng.random((2, 5), dtype=np.float32)}

    made = [make(("X", "FP32", [-1, -1]), data=data, batches=4, batch_size=2, seed=3).inputs["X"] for _ in range(2)]
    assert made[0].shape == (2, 5)
    assert made[0].tolist() == made[1].tolist()


@pytest.mark.parametrize("data", [3, lambda rng, inputs: 3])
def test_data_of_another_kind_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="input data"):
        make(("X", "FP32", [4]), data=data)


# -- on the wire


def test_a_request_is_encoded_as_triton_reads_it() -> None:
    data = encode_http(make(("X", "FP32", [2])), host="h:1", headers={"Authorization": "Bearer x"})
    head, _, body = data.partition(b"\r\n\r\n")
    lines = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
    assert lines[b"Host"] == b"h:1"
    assert lines[b"Authorization"] == b"Bearer x"
    assert int(lines[b"Content-Length"]) == len(body)
    json_size = int(lines[b"Inference-Header-Content-Length"])
    assert len(body) - json_size == 2 * 4
    assert b"binary_data_output" in body[:json_size]


@pytest.mark.parametrize("headers", [{"Content-Length": "3"}, {"X": "a\r\nY: b"}, {"X:": "a"}])
def test_a_header_that_would_break_the_request_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InputError, match="header"):
        encode_http(make(("X", "FP32", [2])), host="h:1", headers=headers)
