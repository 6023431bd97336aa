"""PASS, FAIL, INCONCLUSIVE or ERROR."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from traces import stream

from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import Estimate
from pytest_triton.observation import Trace
from pytest_triton.slo import SLO
from pytest_triton.verdict import Outcome, Verdict, is_out_of_reach, judge, requests_for_first_look

PASS, FAIL, INCONCLUSIVE, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR


def measured(latency: NDArray[np.float64], failed: tuple[int, ...] = (), **extras: float) -> Measurement:
    """A valid measurement of one connection that took these seconds, one after the other."""
    done = np.round(np.cumsum(latency) * 1e9).astype(np.int64)
    sent = np.concatenate(([0], done[:-1]))
    status = np.zeros(len(done), dtype=np.int16)
    status[list(failed)] = 500
    trace = Trace(sent, sent, done, done, status, 0, int(done[-1]), 0.0, 1)
    return measure_trace(trace, batch_size=1, extras=extras)


def exponential(size: int = 3000, mean: float = 0.010, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).exponential(mean, size)


def verdict(measurement: Measurement, **limits: object) -> Verdict:
    return judge(measurement, SLO.parse(limits))


# The truth of exponential(): mean 10 ms, 100/s, p50 6.9 ms, p95 30.0 ms, p99 46.1 ms.
@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"p99": "80ms"}, PASS),
        ({"p99": "46ms"}, INCONCLUSIVE),
        ({"p99": "30ms"}, FAIL),
        ({"p50": "8ms"}, PASS),
        ({"p50": "6ms"}, FAIL),
        ({"p999": "1s"}, INCONCLUSIVE),
        ({"p99": (">=", "30ms")}, PASS),
        ({"p99": (">=", "80ms")}, FAIL),
        ({"mean": "12ms"}, PASS),
        ({"mean": "10ms"}, INCONCLUSIVE),
        ({"mean": "8ms"}, FAIL),
        ({"mean": (">=", "8ms")}, PASS),
        ({"throughput": "90/s"}, PASS),
        ({"throughput": "100/s"}, INCONCLUSIVE),
        ({"throughput": "120/s"}, FAIL),
        ({"throughput": ("<=", "120/s")}, PASS),
        ({"error_rate": "0%"}, PASS),
        ({"error_rate": "1%"}, PASS),
        ({"error_rate": "0.01%"}, INCONCLUSIVE),
        ({"max": "10s"}, PASS),
        ({"max": "20ms"}, FAIL),
        ({"load_time": "2s"}, PASS),
        ({"load_time": "1s"}, FAIL),
        ({"p99": "80ms", "throughput": "120/s"}, FAIL),
        ({"p99": "46ms", "throughput": "90/s"}, INCONCLUSIVE),
        ({"p99": "46ms", "throughput": "120/s"}, FAIL),
        ({"p99": "30ms", "gpu_memory": "1GiB"}, ERROR),
        ({}, PASS),
    ],
)
def test_verdicts(limits: dict[str, object], outcome: Outcome) -> None:
    found = verdict(measured(exponential(), load_time=1.5), **limits)
    assert found.outcome is outcome
    assert found.reason


def test_the_reason_says_what_was_measured_and_what_was_asked() -> None:
    found = verdict(measured(np.full(2000, 0.010)), p99="8ms")
    assert found.reason == "p99 <= 8.00 ms: missed with 10.0 ms (10.0 ms to 10.0 ms)"
    (check,) = found.checks
    assert check.margin == pytest.approx(-0.25)
    assert check.effective is not None
    assert 437 < check.effective <= 2000
    assert check.needs is None


# The truth of streamed(): first response after 2 ms + exponential 5 ms, then two gaps of exponential 1 ms.
@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"ttfr_p95": "25ms"}, PASS),
        ({"ttfr_p95": "12ms"}, FAIL),
        ({"inter_response_p95": "4ms"}, PASS),
        ({"inter_response_p95": "2ms"}, FAIL),
        ({"inter_response_p99": (">=", "2ms")}, PASS),
        ({"response_throughput": "250/s"}, PASS),
        ({"response_throughput": "400/s"}, FAIL),
        ({"responses": 3}, PASS),
        ({"responses": 4}, FAIL),
        ({"send_lag_p99": "1s"}, ERROR),
    ],
)
def test_verdicts_on_a_stream(limits: dict[str, object], outcome: Outcome) -> None:
    assert verdict(streamed(), **limits).outcome is outcome


def streamed(size: int = 1500, failed: tuple[int, ...] = ()) -> Measurement:
    """A valid measurement of one stream: three responses to each request, one request after the other."""
    rng = np.random.default_rng(3)
    waits = np.column_stack((2 + rng.exponential(5, size), rng.exponential(1, (size, 2))))
    ends = np.cumsum(waits).reshape(size, 3)
    sent = [0.0, *ends[:-1, 2].tolist()]
    requests = list(zip(sent, ends.tolist(), strict=True))
    return measure_trace(stream(requests, failed=failed, window=(0, float(ends[-1, -1]))), batch_size=1)


def test_streams_that_broke_exceed_every_bound() -> None:
    broken = streamed(failed=tuple(range(0, 1500, 8)))
    for metric in ("ttfr_p95", "inter_response_p99"):
        assert verdict(broken, **{metric: "1h"}).outcome is FAIL


def test_what_a_bound_on_gaps_needs_is_told_in_requests() -> None:
    (check,) = verdict(streamed(40), inter_response_p99="20ms").checks
    assert check.outcome is INCONCLUSIVE
    assert check.needs is not None
    (same,) = verdict(streamed(40 + check.needs), inter_response_p99="20ms").checks
    assert same.outcome is PASS


@pytest.mark.parametrize(
    ("limits", "at_least"),
    [({"ttfr_p95": "1s"}, 86), ({"inter_response_p99": "1s"}, 437), ({"response_throughput": "1/s"}, 30)],
)
def test_a_first_look_at_a_stream_waits_as_for_latency(limits: dict[str, object], at_least: int) -> None:
    assert requests_for_first_look(SLO.parse(limits)) >= at_least


def test_only_the_bounds_that_decide_are_in_the_reason() -> None:
    found = verdict(measured(np.full(2000, 0.010)), p99="8ms", p50="20ms")
    assert "p50" not in found.reason
    assert [check.outcome for check in found.checks] == [FAIL, PASS]


def test_undecided_says_what_it_would_take() -> None:
    found = verdict(measured(np.full(100, 0.010)), p99="12ms")
    (check,) = found.checks
    assert check.outcome is INCONCLUSIVE
    assert check.needs is not None
    assert f"about {check.needs} more requests would decide" in found.reason
    assert verdict(measured(np.full(100 + check.needs, 0.010)), p99="12ms").outcome is PASS


@pytest.mark.parametrize(("metric", "limit"), [("mean", "9.6ms"), ("throughput", "97/s"), ("error_rate", "0.1%")])
def test_every_tested_bound_says_what_it_would_take(metric: str, limit: str) -> None:
    (check,) = verdict(measured(exponential(1000, seed=4)), **{metric: limit}).checks
    assert check.outcome is INCONCLUSIVE
    assert check.needs is not None
    assert check.needs > 0


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"p99": "1s"}, (1, 2, 19)),
        ({"p50": "1s"}, (1, 2, 10)),
        ({"error_rate": "1%"}, (1, 2, 19)),
        ({"mean": "1s"}, (1, 2, 4)),
        ({"throughput": "1/s"}, (1, 2, 4, 14)),
    ],
)
def test_a_handful_is_inconclusive(limits: dict[str, object], sizes: tuple[int, ...]) -> None:
    assert {verdict(measured(exponential(size)), **limits).outcome for size in sizes} == {INCONCLUSIVE}


def test_thirty_requests_are_enough_for_clear_throughput() -> None:
    assert verdict(measured(np.full(30, 0.010)), throughput="90/s").outcome is PASS
    assert verdict(measured(np.full(30, 0.010)), throughput="110/s").outcome is FAIL


# Failures


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"error_rate": "0%"}, FAIL),
        ({"error_rate": "1%"}, PASS),
        ({"p99": "80ms"}, PASS),
        ({"max": "60s"}, FAIL),
        ({"mean": "60s"}, FAIL),
    ],
)
def test_one_failure(limits: dict[str, object], outcome: Outcome) -> None:
    assert verdict(measured(exponential(), failed=(1000,)), **limits).outcome is outcome


def test_many_failures_miss_latency_and_error_rate() -> None:
    found = verdict(measured(exponential(), failed=tuple(range(0, 3000, 10))), p99="60s", error_rate="5%", p50="20ms")
    assert [check.outcome for check in found.checks] == [FAIL, FAIL, PASS]
    assert found.checks[0].margin is None
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_when_all_failed_nothing_is_said_about_the_slo() -> None:
    found = verdict(measured(exponential(100), failed=tuple(range(100))), p99="1ms")
    assert found.outcome is ERROR
    assert "none of 100 requests succeeded" in found.reason


# Valid, or ERROR


def test_what_is_not_valid_is_an_error_whatever_the_numbers() -> None:
    broken = measured(exponential()).add_problem("the server died")
    for limits in ({}, {"p99": "1s"}, {"p99": "1ms"}):
        assert verdict(broken, **limits).outcome is ERROR
        assert verdict(broken, **limits).reason == "the server died"


def test_a_metric_that_is_not_there_is_an_error_that_names_it() -> None:
    found = verdict(measured(exponential()), gpu_memory="1GiB")
    assert found.outcome is ERROR
    assert "gpu_memory" in found.reason


def test_latency_that_never_settled_decides_nothing() -> None:
    unsteady = replace(measured(exponential()), unsteady=True)
    assert verdict(unsteady, p99="80ms").outcome is INCONCLUSIVE
    assert "did not settle" in verdict(unsteady, p99="30ms").reason


HOT = "the GPU was throttled for 25% of the time (HW thermal slowdown: it was too hot)"


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"p99": "80ms"}, PASS),
        ({"p99": "30ms"}, INCONCLUSIVE),
        ({"mean": "8ms"}, INCONCLUSIVE),
        ({"throughput": "120/s"}, INCONCLUSIVE),
        ({"p99": "30ms", "gpu_memory": "1GiB"}, FAIL),
        ({"gpu_memory": "1GiB"}, FAIL),
        ({"gpu_throttled": "0%"}, FAIL),
        ({"gpu_clock": "1.9GHz"}, FAIL),
        ({"gpu_power": "300W"}, INCONCLUSIVE),
        ({"gpu_power": "200W"}, INCONCLUSIVE),
        ({"energy_per_inference": "3J"}, INCONCLUSIVE),
    ],
)
def test_a_throttled_gpu_answers_for_what_is_slow_and_for_how_little_power_it_took(
    limits: dict[str, object], outcome: Outcome
) -> None:
    figures = {"gpu_memory": 2.0**31, "gpu_throttled": 0.25, "gpu_clock": 1e9, "gpu_power": 250.0}
    cool = measured(exponential(), energy_per_inference=2.5, **figures)
    found = verdict(replace(cool, cautions=(HOT,)), **limits)
    assert found.outcome is outcome
    assert (", but on a throttled GPU" in found.reason) == (outcome is INCONCLUSIVE)
    assert found.reason.endswith(f"; {HOT}")
    assert verdict(cool, **limits).outcome in (PASS, FAIL)


# Looks, measurements without single requests


def test_every_look_has_its_share_of_alpha() -> None:
    slo = SLO.parse({"p99": "12ms"})
    enough_for_one = measured(np.full(600, 0.010))
    assert judge(enough_for_one, slo, looks=1).outcome is PASS
    assert judge(enough_for_one, slo).outcome is INCONCLUSIVE


@pytest.mark.parametrize(
    ("estimate", "outcome"),
    [
        (Estimate(0.010, 0.009, 0.011), PASS),
        (Estimate(0.020, 0.018, 0.022), FAIL),
        (Estimate(0.014, 0.012, 0.017), INCONCLUSIVE),
        (Estimate(0.010, 0.009, None), INCONCLUSIVE),
        (Estimate(math.inf, 0.018, None), FAIL),
        (Estimate(0.010), INCONCLUSIVE),
    ],
)
def test_without_single_requests_the_interval_decides(estimate: Estimate, outcome: Outcome) -> None:
    assert verdict(Measurement({"p99": estimate}, requests=100), p99="15ms").outcome is outcome


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        ({}, 0, 0),
        ({"load_time": "1s"}, 1, 1),
        ({"throughput": "1/s"}, 30, 30),
        ({"p95": "1s"}, 86, 200),
        ({"p99": "1s", "throughput": "1/s"}, 437, 1000),
        ({"error_rate": "0%"}, 1, 1),
        ({"error_rate": "1%"}, 436, 1000),
    ],
)
def test_the_first_look_is_planned_where_a_pass_is_possible(limits: dict[str, object], least: int, most: int) -> None:
    assert least <= requests_for_first_look(SLO.parse(limits)) <= most


def test_a_perfect_run_passes_at_its_first_look() -> None:
    slo = SLO.parse({"p99": "12ms", "throughput": "90/s", "error_rate": "1%"})
    assert judge(measured(np.full(requests_for_first_look(slo), 0.010)), slo).outcome is PASS


def test_json_has_a_row_per_bound() -> None:
    found = verdict(measured(exponential()), p99="80ms", throughput="120/s")
    rows = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert rows["outcome"] == "FAIL"
    assert [(row["metric"], row["outcome"]) for row in rows["checks"]] == [("p99", "PASS"), ("throughput", "FAIL")]
    assert rows["checks"][0]["limit"] == pytest.approx(0.08)
    assert rows["checks"][0]["margin"] > 0 > rows["checks"][1]["margin"]


# 3,000 requests in 41 s, exactly 5 % of which take longer than 25 ms.
ON_THE_BOUND = np.tile(np.append(np.linspace(0.001, 0.0249, 95), np.linspace(0.0251, 0.03, 5)), 30)


@pytest.mark.parametrize(
    ("limits", "limit", "hopeless"),
    [
        ({"p95": "25ms"}, 60.0, True),
        # About 3,000 requests more would show that it is missed: there is time for 1,400, or for 30.
        ({"p95": "24.8ms"}, 60.0, False),
        ({"p95": "24.8ms"}, 41.5, True),
        # One that may still be missed would end it; one that may still be kept would not.
        ({"p99": "29ms", "p95": "24.8ms"}, 60.0, False),
        ({"p99": "29ms", "p95": "25.2ms"}, 60.0, True),
        ({"p95": "1s"}, 60.0, False),
        ({"p95": "1ms"}, 60.0, False),
    ],
)
def test_what_lies_on_a_bound_is_out_of_reach(limits: dict[str, object], limit: float, hopeless: bool) -> None:
    shuffled = np.random.default_rng(1).permutation(ON_THE_BOUND)
    assert is_out_of_reach(measured(shuffled), SLO.parse(limits), limit) is hopeless


def test_of_failures_it_is_not_known_what_it_takes() -> None:
    some = measured(exponential(600), failed=(1, 200, 400))
    assert verdict(some, error_rate="1%").outcome is INCONCLUSIVE
    assert not is_out_of_reach(some, SLO.parse({"error_rate": "1%"}), 60.0)
