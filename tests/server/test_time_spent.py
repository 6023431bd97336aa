"""Where the time went on a real server: what a model does, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from python_models import write_model
from serving import serve

from pytest_triton import SLO, Candidate, Case, EmbeddedServer, Load, judge, measure
from pytest_triton.breakdown import advice, shares
from pytest_triton.protocol import Effort
from pytest_triton.tail import estimate_tail

ALONE = """backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
UNBATCHED = ALONE.replace('"python"\n', '"python"\nmax_batch_size: 8\n')
SHORT = Effort(warmup=0.3, warmup_requests=2, warmup_limit=1.0, seconds=1.0, requests=40, limit=10.0, looks=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Models that spend their time on different things."""
    models = tmp_path_factory.mktemp("models")
    write_model(models, "lonely", dims="[ 4 ]", configuration=ALONE, execute="import time; time.sleep(0.01)")
    write_model(models, "unfilled", dims="[ 4 ]", configuration=UNBATCHED, execute="import time; time.sleep(0.01)")
    write_model(
        models,
        "moody",
        dims="[ 4 ]",
        configuration=ALONE,
        execute="import random, time; time.sleep(0.04 if random.random() < 0.07 else 0.002)",
    )
    write_model(
        models,
        "late",
        dims="[ 4 ]",
        configuration=ALONE,
        initialize="self.cold = True",
        execute="import time; time.sleep(0.4 if self.cold else 0.002); self.cold = False",
    )
    with serve(models, tmp_path_factory.mktemp("output")) as running:
        yield running


@pytest.mark.parametrize(
    ("model", "load", "part", "said"),
    [
        ("lonely", Load(concurrency=4), "queue", "try one instance more (instance_group.count), or less load"),
        ("lonely", Load(concurrency=1), "infer", "The model itself takes"),
        ("unfilled", Load(concurrency=4), "queue", "an execution carries only 1.0 inferences: try dynamic_batching"),
        ("unfilled", Load(concurrency=1), "infer", "The model itself takes"),
    ],
)
def test_advice_fits_what_the_model_does(server: EmbeddedServer, model: str, load: Load, part: str, said: str) -> None:
    measurement = measure(server, Case(Candidate(model), load), effort=SHORT)
    assert shares(measurement)[part] >= 0.5
    assert said in advice(measurement, None, load, batches=model == "unfilled")


def test_an_idle_server_that_delivers_too_little_wants_more_load(server: EmbeddedServer) -> None:
    case = Case(Candidate("lonely"), Load(concurrency=1), slo=SLO.parse({"throughput": "1000/s"}))
    measurement = measure(server, case, effort=SHORT)
    assert "try a concurrency above 1" in advice(measurement, judge(measurement, case.slo), case.load)


def test_the_slowest_of_a_moody_model_were_computed_slowly(server: EmbeddedServer) -> None:
    effort = Effort(warmup=0.3, warmup_requests=2, warmup_limit=1.0, seconds=6.0, requests=600, limit=20.0, looks=1)
    case = Case(Candidate("moody"), Load())
    # On a machine that is busy with other things, a measurement may scatter too much to tell anything.
    told = (estimate_tail(measure(server, case, effort=effort)) for _ in range(6))
    tail = next((tail for tail in told if tail is not None), None)
    assert tail is not None
    assert tail.shares["infer"] > 0.8
    assert tail.mean > 0.03
    assert tail.stretches >= 20


SAMPLE = {"data_type": "TYPE_FP32", "dims": [4], "random_data": True}
WARMUP = [{"name": "once", "batch_size": 1, "count": 1, "inputs": {"X": SAMPLE}}]


def test_model_warmup_takes_the_cold_start_off_the_first_request(server: EmbeddedServer) -> None:
    slo = SLO.parse({"first_request_latency": "200ms", "load_time": "60s"})
    case = Case(Candidate("late"), Load(), slo=slo)
    cold = measure(server, case, effort=SHORT)
    assert cold.metrics["first_request_latency"].value > 0.4
    missed = judge(cold, slo)
    assert missed.outcome.value == "FAIL"
    assert "times as long as the mean of those after it: configure model_warmup" in advice(cold, missed, case.load)
    assert "give it their shapes" in advice(cold, missed, case.load, warms=True)

    warm = measure(server, Case(Candidate("late", {"model_warmup": WARMUP}), Load(), slo=slo), effort=SHORT)
    assert warm.metrics["first_request_latency"].value < 0.2
    # What the first request does not wait for any more, the load does.
    assert warm.metrics["load_time"].value > 0.4
    assert judge(warm, slo).outcome.value == "PASS"
