"""Keys: the same case has the same one, in every process and every run."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_triton.case import Candidate, Case, Inputs, Load
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
