"""What the worker keeps: whose turn it is, what completed, which answers differed; and whether those are right."""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from pytest_triton.correctness import allow
from pytest_triton.load import Request, answers
from pytest_triton.load.answers import UNSEEN, Answers
from pytest_triton.load.place import Place
from pytest_triton.load.records import Records
from pytest_triton.load.status import LOST, OK, WRONG
from pytest_triton.load.turns import END, FIRST_ID, LAST_ID, PIECES, START, Rotation, Sequences, Turn, varint
from pytest_triton.load.validation import Validation, decode_grpc, decode_http

# -- turns


@given(st.integers(0, (1 << 64) - 1))
def test_a_varint_is_protobufs(number: int) -> None:
    assert service_pb2.InferParameter(uint64_param=number).SerializeToString()[1:] == (
        varint(number) if number else b"\0"
    )


@pytest.mark.parametrize("id", [FIRST_ID, LAST_ID])
def test_correlation_ids_keep_their_length(id: int) -> None:
    assert (len(varint(id)), len(str(id))) == (5, 10)
    assert id < 1 << 32


@pytest.mark.parametrize(
    ("part", "parts", "expected"),
    [(0, 1, "abcdab"), (0, 2, "abcdab"), (1, 2, "cdabcd"), (2, 3, "cdabcd"), (7, 8, "dabcda")],
)
def test_requests_rotate_from_a_place_of_each_worker(part: int, parts: int, expected: str) -> None:
    rotation = Rotation([b"a", b"b", b"c", b"d"], [[0, 1], [2, 3]], part=part, parts=parts)
    turn = Turn()
    sent = [(rotation.next(turn), turn.request) for _ in expected]
    assert sent == [(each.encode(), "abcd".index(each)) for each in expected]
    assert not rotation.is_open(turn)


def sequences(
    *, length: tuple[int, int] = (2, 4), streams: Sequence[Sequence[int]] = ((0, 1),), **options: Any
) -> Sequences:
    """Sequences of requests that say of themselves which they are, and which flags they carry."""
    pieces = []
    for index in range(3):
        pieces += [b"%d%s " % (index, flags) for flags in (b"", b"<", b">", b"<>")]
        pieces += [b";"] * 4
        pieces.append(b"tensors")
    assert len(pieces) == 3 * PIECES
    given = {"id_form": "decimal", "first_id": 100, "seed": 1, "part": 0, "parts": 1, **options}
    return Sequences(pieces, streams, length=length, **given)


def test_a_sequence_begins_goes_on_and_ends() -> None:
    turns, turn = sequences(length=(3, 3), streams=[[0, 1], [2]]), Turn()
    sent = [turns.next(turn).decode() for _ in range(6)]
    assert sent == [
        "0< 100;tensors",
        "1 100;tensors",
        "0> 100;tensors",
        "2< 101;tensors",
        "2 101;tensors",
        "2> 101;tensors",
    ]


def test_a_sequence_of_one_request_begins_and_ends_with_it() -> None:
    turns, turn = sequences(length=(1, 1)), Turn()
    assert turns.next(turn) == b"0<> 100;tensors"
    assert not turns.is_open(turn)


def test_what_is_under_way_ends_with_its_next_request() -> None:
    turns, turn = sequences(length=(9, 9)), Turn()
    turns.next(turn)
    assert turns.is_open(turn)
    turns.ending = True
    assert turns.next(turn) == b"1> 100;tensors"
    assert not turns.is_open(turn)


def test_a_sequence_that_was_given_up_is_followed_by_a_new_one() -> None:
    turns, turn = sequences(length=(9, 9)), Turn()
    turns.next(turn)
    turn.left = 0
    assert turns.next(turn) == b"0< 101;tensors"


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_no_two_workers_have_the_same_id(parts: int) -> None:
    ids = []
    for part in range(parts):
        turns, turn = sequences(length=(1, 1), part=part, parts=parts), Turn()
        for _ in range(20):
            turns.next(turn)
            ids.append(turn.sequence)
    assert sorted(ids) == list(range(100, 100 + 20 * parts))


def test_lengths_are_drawn_from_the_seed_within_their_bounds() -> None:
    def lengths(seed: int) -> list[int]:
        turns, turn = sequences(length=(2, 5), seed=seed), Turn()
        ids = []
        for _ in range(500):
            turns.next(turn)
            ids.append(turn.sequence)
        return [len(list(group)) for _, group in itertools.groupby(ids)][:-1]

    assert set(lengths(1)) == {2, 3, 4, 5}
    assert lengths(1) == lengths(1) != lengths(2)


def test_the_flags_number_the_pieces() -> None:
    assert (START, END, START | END) == (1, 2, 3)


# -- records


def place(**values: Any) -> Place:
    made = Place()
    for name, value in values.items():
        setattr(made.turn if hasattr(made.turn, name) else made, name, value)
    return made


ASKED = ("scheduled", "request", "sequence", "responses", "response_at", "answer")


def test_only_the_columns_that_were_asked_for_are_kept() -> None:
    for asked in ([], ["request"], ASKED):
        names, contents = Records(asked).take()
        assert [name for name, _ in names] == ["sent", "first", "done", "status", *asked]
        assert contents == [b""] * len(names)


def test_records_are_handed_over_once() -> None:
    records = Records(ASKED)
    add_done = records.done.append
    records.add(place(sent=2, first=3, scheduled=1, request=7, sequence=1 << 40, responses=[3, 4]), OK, 5, answer=6)
    records.add(place(sent=2, scheduled=1), LOST, 9)
    names, contents = records.take()
    columns = {name: list(array(code, raw)) for (name, code), raw in zip(names, contents, strict=True)}
    assert columns == {
        "sent": [2, 2],
        "first": [3, 9],
        "done": [5, 9],
        "status": [OK, LOST],
        "scheduled": [1, 1],
        "request": [7, 0],
        "sequence": [1 << 40, 0],
        "responses": [2, 0],
        "response_at": [3, 4],
        "answer": [6, UNSEEN],
    }
    add_done(1)  # whoever held on to a column goes on
    assert records.take()[1][2] == array("q", [1]).tobytes()


# -- answers


@pytest.mark.parametrize(("every", "low", "high"), [(1, 16_000, 16_000), (16, 850, 1150)])
def test_one_answer_in_so_many_is_looked_at(every: int, low: int, high: int) -> None:
    """Of requests in rotation, each meets it."""
    kept = Answers(1, every)
    looked = [number for number in range(16_000) if kept.wanted()]
    assert low <= len(looked) <= high
    assert {number % 16 for number in looked} == set(range(16))


def test_each_different_answer_is_handed_over_once() -> None:
    kept = Answers(2, 1)
    assert [kept.number(0, b"a"), kept.number(1, b"a"), kept.number(0, b"b"), kept.number(0, b"a")] == [0, 1, 2, 0]
    assert kept.take_new() == [(0, b"a"), (1, b"a"), (0, b"b")]
    assert kept.number(1, b"a") == 1
    assert kept.take_new() == []
    assert kept.number(1, b"c") == 3
    assert kept.take_new() == [(1, b"c")]


@pytest.mark.parametrize(("name", "value"), [("_MOST", 2), ("_MOST_BYTES", 3)])
def test_there_is_an_end_to_what_is_remembered(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, name, value)
    kept = Answers(1, 1)
    assert [kept.number(0, body) for body in (b"1", b"22", b"33", b"1", b"22")] == [0, 1, UNSEEN, 0, 1]
    assert kept.take_new() == [(0, b"1"), (0, b"22")]


# -- validation

VALUES = np.array([[1.0, 2.0]], dtype=np.float32)


def grpc_answer(values: np.ndarray[Any, Any] = VALUES, *, name: str = "OUT") -> bytes:
    response = service_pb2.ModelInferResponse(model_name="m")
    response.outputs.add(name=name, datatype="FP32", shape=values.shape)
    response.raw_output_contents.append(values.tobytes())
    return bytes(response.SerializeToString())


def http_answer(values: np.ndarray[Any, Any] = VALUES, *, name: str = "OUT") -> bytes:
    raw = values.tobytes()
    output = {"name": name, "datatype": "FP32", "shape": values.shape, "parameters": {"binary_data_size": len(raw)}}
    return json.dumps({"model_name": "m€", "outputs": [output]}, ensure_ascii=False).encode() + raw


AS_TEXT = b'{"model_name":"m","outputs":[{"name":"OUT","datatype":"FP32","shape":[1,2],"data":[1.0,2.0]}]}'
WAYS = {"grpc": (decode_grpc, grpc_answer), "http": (decode_http, http_answer)}


@pytest.mark.parametrize("protocol", WAYS)
def test_answers_are_decoded_from_their_bytes(protocol: str) -> None:
    decode, make = WAYS[protocol]
    values = np.frombuffer(b'{"x":]}\n' * 3, dtype=np.float32)
    assert decode(make(values))["OUT"].tobytes() == values.tobytes()


def test_an_answer_in_text_is_decoded_too() -> None:
    assert decode_http(AS_TEXT)["OUT"].tolist() == VALUES.tolist()


@pytest.mark.parametrize("protocol", WAYS)
def test_wrong_answers_are_found_whichever_worker_saw_them(protocol: str) -> None:
    _, make = WAYS[protocol]
    request = Request("m", {"IN": VALUES}, {"IN": "FP32"}, expected={"OUT": VALUES})
    unknown = Request("m", {"IN": VALUES}, {"IN": "FP32"})
    check = Validation([request, unknown], protocol, 2)

    def look(worker: int, new: list[tuple[int, bytes]], numbers: list[int], status: list[int]) -> tuple[list[int], Any]:
        columns = {"answer": np.array(numbers, dtype=np.int32), "status": np.array(status, dtype=np.int16)}
        said = check(worker, {"answers": [index for index, _ in new]}, columns, [memoryview(body) for _, body in new])
        return columns["status"].tolist(), said

    good, wrong = (0, make()), (0, make(VALUES + 1))
    assert look(0, [good, wrong], [0, 0, 1, UNSEEN, 1], [OK, OK, OK, OK, LOST])[0] == [OK, OK, WRONG, OK, LOST]
    # The other worker has its own numbers; this one's are remembered.
    assert look(1, [good], [0, 0], [OK, OK]) == ([OK, OK], {})
    status, said = look(0, [], [1, 0], [OK, OK])
    assert status == [WRONG, OK]
    assert said[WRONG].startswith("wrong answer: output 'OUT' differs")
    status, said = look(1, [(0, make(name="OTHER")), (0, b"\xff{"), (1, b"\xff{")], [1, 2, 3], [OK, OK, OK])
    assert status == [WRONG, WRONG, OK]
    assert said == {WRONG: "wrong answer: output 'OUT' is missing"}
    assert "cannot be decoded" in look(1, [], [2], [OK])[1][WRONG]


@pytest.mark.parametrize(("allowed", "status"), [(0.5, WRONG), (1.0, OK)])
def test_an_answer_may_be_as_far_off_as_is_allowed(allowed: float, status: int) -> None:
    request = Request("m", {"IN": VALUES}, {"IN": "FP32"}, expected={"OUT": VALUES})
    columns = {"answer": np.zeros(1, dtype=np.int32), "status": np.zeros(1, dtype=np.int16)}
    _, make = WAYS["http"]
    check = Validation([request], "http", 1, allow({"FP32": (0.0, allowed)}))
    check(0, {"answers": [0]}, columns, [memoryview(make(VALUES + 1))])
    assert columns["status"].tolist() == [status]


@given(st.binary(max_size=80))
@pytest.mark.parametrize("protocol", WAYS)
def test_any_bytes_are_right_or_wrong(protocol: str, body: bytes) -> None:
    request = Request("m", {"IN": VALUES}, {"IN": "FP32"}, expected={"OUT": VALUES})
    columns = {"answer": np.zeros(1, dtype=np.int32), "status": np.zeros(1, dtype=np.int16)}
    said = Validation([request], protocol, 1)(0, {"answers": [0]}, columns, [memoryview(body)])
    assert columns["status"].tolist() == [WRONG]
    assert set(said) == {WRONG}


def test_a_million_requests_take_at_most_64_megabytes() -> None:
    # Every column at once: no load has as many. Of a stream each further response takes its time, eight bytes.
    records = Records(["scheduled", "request", "sequence", "responses", "response_at", "answer"])
    place = Place()
    place.responses = [1]
    for _ in range(100):
        records.add(place, OK, 1)
    _, contents = records.take()
    assert sum(map(len, contents)) <= 64 * 100
