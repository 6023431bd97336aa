"""Where the time went, and what follows."""

import math

import pytest

from pytest_triton.breakdown import advice, components, shares
from pytest_triton.case import Load
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Estimate
from pytest_triton.slo import SLO
from pytest_triton.verdict import judge

NAMES = ("server_queue", "server_compute_input", "server_compute_infer", "server_compute_output", "mean")


def spent(queue: float, inputs: float, infer: float, output: float, mean: float, **others: float) -> Measurement:
    """A measurement with these mean times, in milliseconds."""
    times = dict(zip(NAMES, (queue, inputs, infer, output, mean), strict=True))
    metrics = {name: Estimate(milliseconds / 1e3) for name, milliseconds in times.items()}
    return Measurement({**metrics, **{name: Estimate(value) for name, value in others.items()}}, requests=100)


def test_the_parts_add_up_to_the_mean() -> None:
    parts = components(spent(3, 1, 10, 2, 20))
    assert [label for label, _ in parts] == ["queue", "input", "infer", "output", "network + client"]
    assert [seconds for _, seconds in parts] == pytest.approx([0.003, 0.001, 0.010, 0.002, 0.004])
    assert sum(shares(spent(3, 1, 10, 2, 20)).values()) == pytest.approx(1.0)


def test_no_part_is_negative() -> None:
    assert components(spent(3, 1, 10, 2, 15))[-1] == ("network + client", 0.0)


def test_without_the_server_s_word_nothing_is_said() -> None:
    assert components(Measurement({"mean": Estimate(0.02)})) == []
    assert shares(Measurement({})) == {}
    assert advice(Measurement({"mean": Estimate(0.02)})) == ""


def test_without_a_mean_the_server_s_parts_remain() -> None:
    assert [label for label, _ in components(spent(3, 1, 10, 2, math.inf))] == ["queue", "input", "infer", "output"]


@pytest.mark.parametrize(
    ("measurement", "said"),
    [
        (spent(12, 1, 5, 1, 20), "60% of their time waiting in the queue: try one instance more"),
        (spent(12, 1, 5, 1, 20, batch=1.0), "an execution carries only 1.0 inferences: try dynamic_batching"),
        (spent(12, 1, 5, 1, 20, batch=6.0), "60% of their time waiting in the queue"),
        (spent(1, 1, 16, 1, 20, batch=1.0), "The model itself takes 80% of the time"),
        (spent(1, 1, 2, 1, 20), "75% of the time is spent outside the model's queue and computation"),
        (spent(1, 8, 2, 8, 20), "Copying inputs and outputs takes 80% of the time"),
        (spent(1, 1, 16, 1, 20, client_cpu=0.8), "The load generator used 80% of a core"),
        (spent(4, 4, 4, 4, 20), ""),
    ],
)
def test_advice_follows_from_the_numbers(measurement: Measurement, said: str) -> None:
    sentence = advice(measurement, load=Load(concurrency=4))
    assert said in sentence
    assert bool(said) is bool(sentence)


def test_one_at_a_time_cannot_fill_a_batch() -> None:
    assert "dynamic_batching" not in advice(spent(12, 1, 5, 1, 20, batch=1.0), load=Load(concurrency=1))


def test_failures_come_first() -> None:
    failing = Measurement({}, requests=50, failures=7, reasons={"timed out": 2, "Internal Server Error": 5})
    assert "7 of 50 requests failed, most of them with 'Internal Server Error'" in advice(failing)


def test_too_little_throughput_of_an_idle_server_asks_for_load() -> None:
    measurement = spent(0, 1, 16, 1, 20)
    measurement = Measurement({**measurement.metrics, "throughput": Estimate(50, 49, 51)}, requests=100)
    missed = judge(measurement, SLO.parse({"throughput": "80/s"}))
    assert "try a concurrency above 1" in advice(measurement, missed, Load(concurrency=1))
