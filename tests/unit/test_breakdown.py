"""Where the time went, and what follows."""

import math
from dataclasses import replace

import pytest

from pytest_triton.breakdown import advice, called, components, shares
from pytest_triton.case import Load
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Estimate
from pytest_triton.observation import ServerStatistics
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


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Load(), "try protocol='grpc', shared_memory='system', larger batches, or less data"),
        (Load(protocol="grpc"), "try shared_memory='system', larger batches"),
        (Load(shared_memory="system"), "try protocol='grpc', larger batches"),
        (Load(protocol="grpc", shared_memory="system"), "client: try larger batches"),
    ],
)
def test_a_shorter_way_is_named_that_is_not_taken_yet(load: Load, said: str) -> None:
    assert said in advice(spent(1, 1, 2, 1, 20), load=load)


@pytest.mark.parametrize(("load", "shared"), [(Load(), True), (Load(shared_memory="system"), False)])
def test_copies_may_go_through_shared_memory(load: Load, shared: bool) -> None:
    sentence = advice(spent(1, 8, 2, 8, 20), load=load)
    assert ("try shared_memory='system', smaller" in sentence) is shared
    assert ("try smaller" in sentence) is not shared


def test_a_client_at_its_limit_needs_more_processes() -> None:
    assert "(--triton-load-workers)" in advice(spent(1, 1, 16, 1, 20, client_cpu=0.8))


@pytest.mark.parametrize(
    ("first", "bounds", "warms", "said"),
    [
        (0.4, {"first_request_latency": "100ms"}, False, "took 400.0 ms, 20 times as long as the mean of those after"),
        (0.4, {"first_request_latency": "100ms"}, False, "configure model_warmup"),
        (0.4, {"first_request_latency": "100ms"}, True, "give it their shapes"),
        (0.4, {"first_request_latency": "100ms", "load_time": "1s"}, False, "The model itself takes"),
        (0.4, {"first_request_latency": "1s"}, False, "The model itself takes"),
        (0.03, {"first_request_latency": "20ms"}, False, "The model itself takes"),
    ],
)
def test_a_cold_start_is_warmed_up_where_it_is_what_is_missed(
    first: float, bounds: dict[str, str], warms: bool, said: str
) -> None:
    measurement = spent(1, 1, 16, 1, 20, first_request_latency=first, load_time=2.0)
    missed = judge(measurement, SLO.parse(bounds))
    assert said in advice(measurement, missed, Load(), warms=warms)


def test_one_at_a_time_cannot_fill_a_batch() -> None:
    assert "dynamic_batching" not in advice(spent(12, 1, 5, 1, 20, batch=1.0), load=Load(concurrency=1))


def counted(requests: int, queue: float, infer: float, executions: int = 0) -> ServerStatistics:
    """Statistics of so many requests, each with these mean times in milliseconds."""
    return ServerStatistics(
        inference_count=requests,
        execution_count=executions or requests,
        success_count=requests,
        queue_ns=round(requests * queue * 1e6),
        compute_infer_ns=round(requests * infer * 1e6),
    )


@pytest.mark.parametrize(
    ("composing", "said"),
    [
        (
            {"front": counted(100, 1, 2), "back": counted(100, 1, 12)},
            "back takes 81% of the time, most of it comp",
        ),
        (
            {"front": counted(100, 14, 2), "back": counted(100, 1, 3)},
            "front takes 80% of the time, most of it in",
        ),
        ({"front": counted(100, 0, 6), "back": counted(300, 0, 4)}, "back takes 67% of the time"),
        ({"front": counted(100, 0, 1), "back": counted(100, 0, 2)}, "The model itself takes 80% of the time"),
        ({}, "The model itself takes 80% of the time"),
    ],
)
def test_the_slowest_of_the_models_that_are_called_is_named(composing: dict[str, ServerStatistics], said: str) -> None:
    assert said in advice(replace(spent(1, 1, 16, 1, 20), composing=composing), load=Load())


def test_what_a_called_model_did_is_known_for_each_request_to_it() -> None:
    part = called(replace(spent(1, 1, 16, 1, 20), composing={"back": counted(300, 0.5, 4, executions=100)}))["back"]
    assert (part.requests, part.executions, part.batch) == (300, 100, 3)
    assert (part.server_queue, part.server_compute_infer, part.total) == pytest.approx((0.0005, 0.004, 1.35))
    assert "batch" not in called(Measurement({}, composing={"idle": ServerStatistics()}))["idle"].as_dict()


def test_an_open_loop_that_offers_too_little_asks_for_a_higher_rate() -> None:
    measurement = spent(0, 1, 16, 1, 20)
    measurement = Measurement({**measurement.metrics, "throughput": Estimate(50, 49, 51)}, requests=100)
    missed = judge(measurement, SLO.parse({"throughput": "80/s"}))
    assert "raise the rate" in advice(measurement, missed, Load(rate=50.0))


def test_an_open_loop_may_fill_batches() -> None:
    assert "dynamic_batching" in advice(spent(12, 1, 5, 1, 20, batch=1.0), load=Load(rate=100.0))


def test_failures_come_first() -> None:
    failing = Measurement({}, requests=50, failures=7, reasons={"timed out": 2, "Internal Server Error": 5})
    assert "7 of 50 requests failed, most of them with 'Internal Server Error'" in advice(failing)


def test_too_little_throughput_of_an_idle_server_asks_for_load() -> None:
    measurement = spent(0, 1, 16, 1, 20)
    measurement = Measurement({**measurement.metrics, "throughput": Estimate(50, 49, 51)}, requests=100)
    missed = judge(measurement, SLO.parse({"throughput": "80/s"}))
    assert "try a concurrency above 1" in advice(measurement, missed, Load(concurrency=1))
