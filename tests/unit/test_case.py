"""Keys: the same case has the same one, in every process and every run."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_triton.case import Candidate, Case, Inputs, Load, Phases
from pytest_triton.slo import SLO

CASE = Case(
    Candidate("alexnet", {"instance_group.count": 2, "dynamic_batching": {}}),
    Load(concurrency=4),
    Inputs(shapes={"data_0": (3, 224, 224)}),
)


def test_the_order_of_a_patch_does_not_matter() -> None:
    one = Candidate("m", {"max_batch_size": 8, "dynamic_batching": {}})
    other = Candidate("m", {"dynamic_batching": {}, "max_batch_size": 8})
    assert one.key == other.key


@pytest.mark.parametrize(
    "other",
    [
        replace(CASE, candidate=Candidate("alexnet2", CASE.candidate.patch)),
        replace(CASE, candidate=Candidate("alexnet")),
        replace(CASE, candidate=Candidate("alexnet", {"instance_group.count": "2", "dynamic_batching": {}})),
        replace(CASE, candidate=Candidate("alexnet", {"instance_group.count": 2, "dynamic_batching": None})),
        replace(CASE, load=Load(concurrency=8)),
        replace(CASE, load=Load(concurrency="auto")),
        replace(CASE, load=Load(concurrency=4, batch_size=2)),
        replace(CASE, inputs=Inputs(shapes={"data_0": (3, 320, 320)})),
        replace(CASE, inputs=replace(CASE.inputs, seed=1)),
    ],
)
def test_what_is_measured_is_in_the_key(other: Case) -> None:
    assert other.key != CASE.key


def test_what_is_asked_of_it_is_not() -> None:
    assert replace(CASE, slo=SLO.parse({"p99": "25ms"})).key == CASE.key


def test_another_process_finds_the_same_key() -> None:
    program = f"from pytest_triton.case import *; print({CASE.candidate!r}.key)"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    assert answer.stdout.strip() == CASE.candidate.key


@pytest.mark.parametrize(
    ("load", "key"),
    [
        (Load(), "4aecc346fb72f5d0"),
        (Load(concurrency=4, batch_size=2), "6db8ffb0380fa5e0"),
        (Load(concurrency="auto"), "90a16838a9937d87"),
    ],
)
def test_what_is_as_by_default_changes_no_key(load: Load, key: str) -> None:
    assert Case(Candidate("m"), load, Inputs(shapes={"X": (4,)})).key == key


@pytest.mark.parametrize(
    "load",
    [
        Load(rate=400.0),
        Load(rate=Phases(("10s", "400/s"))),
        Load(rate=400.0, arrivals="constant"),
        Load(arrivals="day.txt"),
        Load(sequence_length=4),
        Load(sequence_length=(4, 4)),
        Load(protocol="grpc"),
        Load(protocol="grpc", streaming=True),
        Load(shared_memory="system"),
    ],
)
def test_every_way_to_send_is_a_case_of_its_own(load: Load) -> None:
    plain = Case(Candidate("m"), Load())
    assert replace(plain, load=load).key != plain.key


def test_a_file_of_arrivals_goes_by_its_name() -> None:
    assert Load(arrivals="/here/day.txt").as_dict() == Load(arrivals="/there/day.txt").as_dict()
    assert Load(arrivals="/here/day.txt").as_dict()["arrivals"] == "day.txt"
