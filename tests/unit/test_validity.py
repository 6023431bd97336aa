"""When a client says nothing about the server: in open loop, and of several processes."""

from dataclasses import replace

import numpy as np
import pytest
from traces import open_loop, stream

from pytest_triton.measurement import measure_trace
from pytest_triton.observation import Trace
from pytest_triton.slo import SLO
from pytest_triton.validity import smallest_latency_bound
from pytest_triton.verdict import Outcome, judge


def problems(trace: Trace, **limits: object) -> tuple[str, ...]:
    return measure_trace(trace, batch_size=1, slo=SLO.parse(limits)).problems


@pytest.mark.parametrize(
    ("limits", "smallest"),
    [
        ({}, None),
        ({"throughput": "9/s", "rss": "1GiB"}, None),
        ({"p50": "20ms", "p99": "50ms"}, 0.020),
        ({"mean": "5ms", "p99": "50ms"}, 0.005),
        ({"ttfr_p99": "4ms", "p99": "50ms"}, 0.004),
        ({"inter_response_p99": "1ms", "server_queue": "1ms", "load_time": "1us", "send_lag_p99": "1us"}, None),
        ({"p99": (">=", "5ms")}, None),
    ],
)
def test_the_bound_that_lag_is_held_against(limits: dict[str, object], smallest: float | None) -> None:
    assert smallest_latency_bound(SLO.parse(limits)) == smallest


@pytest.mark.parametrize(
    ("lags", "limits", "late"),
    [
        ([0.9] * 200, {}, False),
        ([1.1] * 200, {}, True),
        ([0.0] * 198 + [9.0] * 2, {}, False),
        ([0.0] * 197 + [9.0] * 3, {}, True),
        ([3.0] * 200, {"p99": "200ms"}, False),
        ([5.0] * 200, {"p99": "200ms"}, True),
        ([3.0] * 200, {"p99": "200ms", "p50": "100ms"}, True),
        ([0.9] * 200, {"p99": "2ms"}, False),
    ],
)
def test_requests_sent_too_late_are_doubted(lags: list[float], limits: dict[str, object], late: bool) -> None:
    measurement = measure_trace(open_loop(lags), batch_size=1, slo=SLO.parse(limits))
    assert measurement.problems == ()
    assert len(measurement.doubts) == late
    if late:
        assert "after they were due" in measurement.doubts[0]


@pytest.mark.parametrize(("share", "advice"), [(0.9, "lower the rate"), (0.1, "other work on this machine")])
def test_what_a_late_client_needs_depends_on_how_busy_it_was(share: float, advice: str) -> None:
    trace = open_loop([9.0] * 200)
    measurement = measure_trace(replace(trace, busiest=share * trace.seconds), batch_size=1)
    assert advice in measurement.doubts[0]


@pytest.mark.parametrize(
    ("lag", "limit", "outcome"),
    [(0.0, "5ms", Outcome.FAIL), (9.0, "5ms", Outcome.ERROR), (9.0, "1s", Outcome.PASS)],
)
def test_a_late_client_cannot_make_a_model_fail(lag: float, limit: str, outcome: Outcome) -> None:
    slo = SLO.parse({"p50": limit})
    verdict = judge(measure_trace(open_loop([lag] * 500, took=20.0), batch_size=1, slo=slo), slo)
    assert verdict.outcome is outcome
    assert ("after they were due" in verdict.reason) is (outcome is Outcome.ERROR)


def test_where_sequences_are_too_few_more_are_advised() -> None:
    late = open_loop([9.0] * 100, unsent=50)
    measurement = measure_trace(replace(late, sequence=late.scheduled), batch_size=1)
    for problem in (*measurement.problems, *measurement.doubts):
        assert "more of them under way (concurrency)" in problem
        assert "workers" not in problem


@pytest.mark.parametrize(
    ("sent", "unsent", "short"), [(990, 10, False), (980, 20, True), (50, 3, False), (50, 4, True)]
)
def test_requests_that_were_not_sent_are_missed(sent: int, unsent: int, short: bool) -> None:
    found = problems(open_loop([0.0] * sent, unsent=unsent))
    assert len(found) == short
    if short:
        assert f"only {sent} of the {sent + unsent:,} requests that became due were sent" in found[0]


def test_an_open_loop_has_no_number_in_flight() -> None:
    assert problems(open_loop([0.0] * 500, took=500.0)) == ()


def test_what_counts_is_the_busiest_process() -> None:
    trace = open_loop([0.0] * 100, busiest=0.6)
    assert trace.cpu_seconds > trace.seconds
    assert problems(trace) == ()
    (problem,) = problems(replace(trace, busiest=0.95))
    assert "a process of the load generator used 95% of a core" in problem
    assert "workers" in problem


def test_a_stream_in_closed_loop_keeps_little_s_law() -> None:
    requests = [(10 * n, [10 * n + 5, 10 * n + 10]) for n in range(200)]
    assert problems(stream(requests, window=(0, 2000))) == ()
    idle = [(10 * n, [10 * n + 5, 10 * n + 8]) for n in range(200)]
    (problem,) = problems(stream(idle, window=(0, 2000)))
    assert "Little's law" in problem


@pytest.mark.parametrize(("turnaround", "valid"), [(40e-6, True), (80e-6, False)])
def test_a_client_may_take_a_moment_between_answer_and_request(turnaround: float, valid: bool) -> None:
    # 0.2 ms a request: either turnaround is more than the 5 % that may be missing of what should be in flight.
    latency = 200e-6
    sent = np.arange(2000) * int((latency + turnaround) * 1e9)
    done = sent + int(latency * 1e9)
    trace = Trace(sent, sent, done, done, np.zeros(2000, np.int16), 0, int(done[-1]), 0.01, 1)
    assert (not list(problems(trace))) is valid
