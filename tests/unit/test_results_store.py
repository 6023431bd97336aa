"""Records on disk: whole lines or nothing, whoever writes at once."""

import json
from concurrent.futures import ProcessPoolExecutor

import pytest

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store, StoreError


def record(run="now", **others):
    return Record(
        id="test_it", key="k", model="m", configuration={}, load={}, slo={}, verdict="PASS", run=run, **others
    )


def test_what_is_written_is_read_back(tmp_path):
    store = Store(tmp_path / "below" / "records.jsonl")
    one = record(measurement={"p99": {"value": 0.1, "low": None, "high": None, "unit": "s"}}, summary={"tie": False})
    store.append(one)
    store.append(record(run="before"))
    assert store.read("now") == [one]
    assert store.read("never") == []


def test_a_line_that_was_cut_off_and_one_of_another_schema_are_left_out(tmp_path):
    store = Store(tmp_path / "records.jsonl")
    store.append(record())
    with store.path.open("a") as file:
        file.write(json.dumps({"schema": 99, "run": "now"}) + "\n" + '{"schema": 1, "run": "now", "id"')
    assert store.read("now") == [record()]


def write_many(path):
    for _ in range(50):
        Store(path).append(record(reason="x" * 5000))


def test_processes_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "records.jsonl"
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(write_many, [path] * 4))
    assert len(Store(path).read("now")) == 200
    assert len(path.read_bytes().splitlines()) == 200


def test_a_full_disk_is_named_and_leaves_no_half_line(tmp_path):
    path = tmp_path / "records.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"cannot write records to .*: No space left on device"):
        Store(path).append(record())


def test_a_case_has_the_same_key_everywhere():
    case = Case(Candidate("m", {"instance_group.count": 2}), Load(4), Inputs({"X": (3,)}))
    assert case.key == Case(Candidate("m", {"instance_group.count": 2}), Load(4), Inputs({"X": (3,)})).key
    assert case.key != Case(Candidate("m", {"instance_group.count": 3}), Load(4), Inputs({"X": (3,)})).key
