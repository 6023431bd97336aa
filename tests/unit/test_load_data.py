"""Data from files: NumPy's archives, folders of raw files, Perf Analyzer's JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from pytest_triton.case import Inputs
from pytest_triton.errors import InputError
from pytest_triton.load import Request, RequestSet, make_requests

X = ("X", "INT32", [2, 2])
Y = ("Y", "FP32", [-1])
OUT = ("OUT", "FP32", [2])
NUMBERS = "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FP16 BF16 FP32 FP64".split()  # noqa: SIM905
LIMITS = {name: np.iinfo(triton_to_np_dtype(name)) for name in NUMBERS if "INT" in name}


def make(
    path: Any, *inputs: tuple[str, str, list[int]], batches: int = 0, batch_size: int = 1, shapes: Any = None
) -> RequestSet:
    """Read ``path`` for a model with ``inputs`` and the output ``OUT``."""
    batch = [-1] if batches else []
    described = [
        {"name": name, "datatype": datatype, "shape": batch + shape} for name, datatype, shape in [*inputs, OUT]
    ]
    return make_requests(
        {"inputs": described[:-1], "outputs": described[-1:]},
        max_batch_size=batches,
        inputs=Inputs(shapes=shapes or {}, data=path),
        batch_size=batch_size,
        model="m",
    )


def write(folder: Path, document: Any) -> Path:
    path = folder / "data.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def sent(requests: RequestSet, name: str = "X") -> list[Any]:
    return [request.inputs[name].tolist() for request in requests.requests]


def expected(request: Request) -> Any:
    return None if request.expected is None else {name: array.tolist() for name, array in request.expected.items()}


# -- Perf Analyzer's JSON


def test_steps_are_one_stream(tmp_path: Path) -> None:
    data = {"data": [{"X": [1, 2, 3, 4], "Y": [0.5]}, {"X": [[5, 6], [7, 8]], "Y": [1, 2]}]}
    made = make(write(tmp_path, data), X, Y)
    assert made.streams == ((0, 1),)
    assert sent(made) == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert sent(made, "Y") == [[0.5], [1, 2]]
    assert [expected(request) for request in made.requests] == [None, None]


def test_streams_stay_apart_with_what_they_must_answer(tmp_path: Path) -> None:
    def step(number: int) -> dict[str, Any]:
        return {"Y": [number], "parameters": {"n": number, "final": True}}

    data = {
        "data": [[step(1), step(2)], [step(3)], [step(4), step(5), step(6)]],
        "validation_data": [[{"OUT": [1, 1]}, {}], [{"OUT": {"content": [3, 3], "shape": [2]}}], [{}, {}, {}]],
    }
    made = make(write(tmp_path, data), Y)
    assert made.streams == ((0, 1), (2,), (3, 4, 5))
    assert sent(made, "Y") == [[1], [2], [3], [4], [5], [6]]
    assert [expected(request) for request in made.requests] == [
        {"OUT": [1, 1]},
        None,
        {"OUT": [3, 3]},
        None,
        None,
        None,
    ]
    assert [dict(request.parameters) for request in made.requests] == [{"n": n, "final": True} for n in range(1, 7)]


def test_what_a_step_does_not_name_is_random(tmp_path: Path) -> None:
    made = make(write(tmp_path, {"data": [{"X": [1] * 4}, {"X": [2] * 4}]}), X, Y, shapes={"Y": (3,)})
    first, second = sent(made, "Y")
    assert len(first) == 3
    assert first != second


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ({"content": [1, 2, 3, 4, 5, 6], "shape": [2, 3]}, (2, 3)),
        ({"content": [1, 2, 3, 4, 5, 6], "shape": [6, 1]}, (6, 1)),
        ({"content": {"b64": "AQAAAAIAAAADAAAABAAAAAUAAAAGAAAA"}, "shape": [3, 2]}, (3, 2)),
        ({"b64": "AQAAAAIAAAADAAAABAAAAAUAAAAGAAAA", "shape": [1, 6]}, (1, 6)),
        ({"content": [[1, 2], [3, 4], [5, 6]], "shape": [3, 2]}, (3, 2)),
    ],
)
def test_a_tensor_brings_its_shape(tmp_path: Path, tensor: Any, shape: tuple[int, ...]) -> None:
    for batches in (0, 4):
        made = make(write(tmp_path, {"data": [{"X": tensor}]}), ("X", "INT32", [-1, -1]), batches=batches)
        array = made.requests[0].inputs["X"]
        assert array.shape == ((1, *shape) if batches else shape)
        assert array.ravel().tolist() == [1, 2, 3, 4, 5, 6]


def test_a_shape_that_was_declared_holds_where_a_step_has_none(tmp_path: Path) -> None:
    document = {"data": [{"X": [1, 2, 3, 4, 5, 6]}, {"X": {"content": [1, 2, 3], "shape": [3, 1]}}]}
    made = make(write(tmp_path, document), ("X", "INT32", [-1, -1]), shapes={"X": ((1, 3), 2)})
    assert [request.inputs["X"].shape for request in made.requests] == [(3, 2), (3, 1)]


@given(
    steps=st.integers(1, 7),
    batch_size=st.integers(1, 7),
)
def test_a_batch_is_made_of_the_next_steps(
    tmp_path_factory: pytest.TempPathFactory, steps: int, batch_size: int
) -> None:
    data = {"data": [{"Y": [n]} for n in range(steps)], "validation_data": [{"OUT": [n, n]} for n in range(steps)]}
    made = make(write(tmp_path_factory.getbasetemp(), data), Y, batches=8, batch_size=batch_size)
    numbers = [n for request in sent(made, "Y") for (n,) in request]
    assert len(made.requests) * batch_size == len(numbers)
    assert numbers == [place % steps for place in range(len(numbers))]
    assert (numbers[-1] + 1) % steps == 0
    for request in made.requests:
        assert request.expected is not None
        assert request.expected["OUT"][:, 0].tolist() == request.inputs["Y"][:, 0].tolist()


def elements(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype in LIMITS:
        return st.integers(int(LIMITS[datatype].min), int(LIMITS[datatype].max))
    return st.integers(-256, 256).map(lambda n: n / 2)


@pytest.mark.parametrize("datatype", NUMBERS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_elements_and_raw_bytes_are_the_same_tensor(tmp_path: Path, datatype: str, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(elements(datatype), min_size=1, max_size=6))
    raw = np.array(numbers, dtype=triton_to_np_dtype(datatype)).tobytes()
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "X").write_bytes(raw)
    model = ("X", datatype, [-1])
    document = {"data": [{"X": numbers}, {"X": {"b64": base64.b64encode(raw).decode()}}]}
    assert sent(make(write(tmp_path, document), model)) == [numbers, numbers]
    assert sent(make(folder, model)) == [numbers]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_strings_are_text_or_raw_bytes(tmp_path: Path, words: list[str]) -> None:
    raw = serialize_byte_tensor(np.array([word.encode() for word in words], dtype=np.object_)).item()
    document = {"data": [{"X": words}, {"X": {"b64": base64.b64encode(raw).decode()}}]}
    made = make(write(tmp_path, document), ("X", "BYTES", [-1]))
    assert sent(made) == [[word.encode() for word in words]] * 2


BROKEN = [
    ("{", "cannot be read from .*data.json"),
    ([1], 'data.json: there is no "data" in it'),
    ({}, 'there is no "data" in it'),
    ({"data": []}, '"data" is no list with something in it'),
    ({"data": [1]}, '"data" has both steps and streams, or neither'),
    ({"data": [{"X": [0] * 4}, []]}, '"data" has both steps and streams'),
    ({"data": [[{}], []]}, '"data", stream 1, is no list of steps'),
    ({"data": [{}], "validation_data": [{}, {}]}, '"validation_data" has other streams or steps than "data"'),
    ({"data": [{"Z": [1]}]}, "stream 0, step 0: 'Z' is no input"),
    ({"data": [[{}], [{}, {"X": 5}]]}, "stream 1, step 1: 'X' is 5"),
    ({"data": [{"X": [1, 2, 3]}]}, r"stream 0, step 0: 'X' is given 3 elements, which do not fill \[2, 2\]"),
    ({"data": [{"X": [1, 2, 3, 0.5]}]}, "step 0: input 'X' is INT32, .* it cannot hold 0.5"),
    ({"data": [{"X": ["1", 2, 3, 4]}]}, "step 0: input 'X' is INT32, .* '1' is no number"),
    ({"data": [{"X": {"shape": [2, 2]}}]}, "'X' has no content"),
    ({"data": [{"X": {"content": "abc"}}]}, "'X' is 'abc'"),
    ({"data": [{"X": {"content": [1] * 4, "shape": [4]}}]}, r"the shape \[4\] given for 'X' does not fit .* \[2, 2\]"),
    ({"data": [{"X": {"content": [1] * 4, "shape": [2, -1]}}]}, r"the shape of 'X' is \[2, -1\]"),
    ({"data": [{"X": {"b64": "AAAA"}}]}, "tensor 'X' is INT32, of which 3 bytes are no whole number of elements"),
    ({"data": [{"X": {"b64": "A"}}]}, "the base64 of 'X' cannot be read"),
    ({"data": [{"X": {"b64": 5}}]}, "'X' is {'b64': 5}"),
    ({"data": [{"parameters": [1]}]}, r"its parameters are \[1\]"),
    ({"data": [{}], "validation_data": [{"X": [1] * 4}]}, "stream 0, step 0: 'X' is no output"),
    ({"data": [{}], "validation_data": [{"OUT": [1]}]}, "step 0: 'OUT' is given 1 elements"),
]


@pytest.mark.parametrize(("document", "problem"), BROKEN, ids=[problem for _, problem in BROKEN])
def test_what_is_wrong_with_a_file_is_told_with_its_place(tmp_path: Path, document: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        make(write(tmp_path, document), X)
    assert "data.json" in caught.value.problem
    assert caught.value.model == "m"
    assert caught.value.hint


def test_steps_of_one_batch_must_fit_together(tmp_path: Path) -> None:
    path = write(tmp_path, {"data": [{"Y": [1]}, {"Y": [1, 2]}, {"Y": [3]}]})
    assert len(make(path, Y, batches=4).requests) == 3
    with pytest.raises(InputError, match=r"stream 0: steps 0, 1, which make one request .* differ in the shape of 'Y'"):
        make(path, Y, batches=4, batch_size=2)
    path = write(tmp_path, {"data": [{"Y": [1], "parameters": {"a": 1}}, {"Y": [1]}]})
    with pytest.raises(InputError, match=r"steps 0, 1, .* differ in their parameters"):
        make(path, Y, batches=4, batch_size=2)


# -- folders and archives


def test_a_folder_has_one_raw_file_for_each_tensor(tmp_path: Path) -> None:
    (tmp_path / "X").write_bytes(np.arange(4, dtype="<i4").tobytes())
    (tmp_path / "WORDS").write_bytes("früh\nspät\n\nspäter".encode())
    (tmp_path / "OUT").write_bytes(np.array([1, 2], dtype="<f4").tobytes())
    (tmp_path / ".hidden").write_text("")
    for batches, batch_size in ((0, 1), (8, 3)):
        (request,) = make(tmp_path, X, ("WORDS", "BYTES", [-1]), batches=batches, batch_size=batch_size).requests
        one = [[[0, 1], [2, 3]], ["früh".encode(), "spät".encode(), b"", "später".encode()], {"OUT": [1, 2]}]
        many = [[one[0]] * 3, [one[1]] * 3, {"OUT": [[1, 2]] * 3}]
        assert [request.inputs["X"].tolist(), request.inputs["WORDS"].tolist(), expected(request)] == (
            many if batches else one
        )


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("X", b"123", "3 bytes are no whole number"),
        ("X", bytes(12), r"3 elements, which do not fill \[2, 2\]"),
        ("X.raw", bytes(16), "data is given for 'X.raw', which is no input"),
        (".X", b"", "the folder is empty"),
    ],
)
def test_a_folder_that_does_not_fit_is_told(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        make(tmp_path, X)
    assert str(tmp_path) in caught.value.problem
    assert caught.value.hint


def test_two_free_sizes_cannot_follow_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "X").write_bytes(bytes(48))
    with pytest.raises(InputError, match=r"'X' has free dimensions, dims \[-1, -1\], and no shape"):
        make(tmp_path, ("X", "INT32", [-1, -1]))
    made = make(tmp_path, ("X", "INT32", [-1, -1]), shapes={"X": (3, (1, 9))})
    assert made.requests[0].inputs["X"].shape == (3, 4)


def test_an_archive_may_hold_several_requests(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays = {"X": np.arange(8, dtype=np.int32).reshape(2, 2, 2), "OUT": np.float32([[1, 2], [3, 4]])}
    np.savez(path, **arrays)
    made = make(path, X)
    assert sent(made) == arrays["X"].tolist()
    assert [expected(request) for request in made.requests] == [{"OUT": [1, 2]}, {"OUT": [3, 4]}]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 and no more"])
def test_a_broken_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read from .*data\.npz"):
        make(tmp_path / "data.npz", X)


@pytest.mark.parametrize("name", ["data.txt", "nothing"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "data.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=f"cannot be read from .*{name}") as caught:
        make(str(tmp_path / name), X)
    assert "Perf Analyzer's .json" in caught.value.hint
