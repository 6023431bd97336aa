"""How a load is told."""

import json

import pytest

from pytest_triton.case import Load, Phases
from pytest_triton.report.load import cell, describe, head

BURSTS = Phases(("10s", "100/s"), ("2s", "800/s", "400/s"))


@pytest.mark.parametrize(
    ("load", "sentence", "line", "short"),
    [
        (Load(4), "concurrency 4", "Concurrency: 4", "c4"),
        (Load(4, 8), "concurrency 4, batch size 8", "Concurrency: 4, batch size: 8", "c4 b8"),
        (Load(4, protocol="grpc"), "concurrency 4, gRPC", "Concurrency: 4, gRPC", "c4 grpc"),
        (
            Load(4, protocol="grpc", streaming=True),
            "concurrency 4, gRPC stream",
            "Concurrency: 4, gRPC stream",
            "c4 grpc stream",
        ),
        (Load(rate=400.0), "rate 400/s, Poisson", "Request rate: 400", "r400"),
        (Load(rate=0.25), "rate 0.25/s, Poisson", "Request rate: 0.25", "r0.25"),
        (Load(rate=1e6), "rate 1000000/s, Poisson", "Request rate: 1000000", "r1000000"),
        (Load(rate=9.0, arrivals="constant"), "rate 9/s, constant", "Request rate: 9, constant", "r9 const"),
        (
            Load(rate=BURSTS),
            "rate 100/s for 10.0 s, 800/s to 400/s for 2.00 s, Poisson",
            "Request rate: 100/800-400",
            "r100/800-400",
        ),
        (Load(arrivals="/a/day.txt"), "intervals of day.txt", "Request intervals: day.txt", "day.txt"),
        (
            Load(3, sequence_length=20),
            "sequences of 20, 3 at a time",
            "Concurrency: 3, sequences of 20, 3 at a time",
            "c3 s20",
        ),
        (
            Load(3, rate=9.0, sequence_length=(5, 9), batch_size=2),
            "rate 9/s, Poisson, sequences of 5 to 9, 3 at a time, batch size 2",
            "Request rate: 9, batch size: 2, sequences of 5 to 9, 3 at a time",
            "r9 b2 s5-9",
        ),
        (
            Load(shared_memory="cuda"),
            "concurrency 1, CUDA shared memory",
            "Concurrency: 1, CUDA shared memory",
            "c1 shm-cuda",
        ),
    ],
)
def test_a_load_in_words(load: Load, sentence: str, line: str, short: str) -> None:
    told = json.loads(json.dumps(load.as_dict()))
    assert (describe(told), head(told), cell(told)) == (sentence, line, short)
