"""What single requests and responses took."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from traces import MS, open_loop, stream

from pytest_triton.measurement import measure_trace
from pytest_triton.metrics import METRICS
from pytest_triton.series import first_responses, inter_responses, send_lags, so_far

TWO_IN_TURN = [(0, [5, 7, 10]), (10, [12]), (20, [21, 29])]


@pytest.mark.parametrize(
    ("requests", "failed", "ttfr", "gaps"),
    [
        (TWO_IN_TURN, [], [5, 2, 1], [2, 3, 8]),
        ([(0, []), (10, [12, 13])], [], [2], [1]),
        ([(0, [1]), (5, [6])], [], [1, 1], []),
        (TWO_IN_TURN, [0], [math.inf, 2, 1], [2, 3, math.inf, 8]),
        (TWO_IN_TURN, [1, 2], [5, math.inf, math.inf], [2, 3, math.inf, 8, math.inf]),
        ([(0, []), (10, [12, 13])], [0], [math.inf, 2], [1]),
        ([(0, []), (1, [])], [], [], []),
    ],
    ids=["all well", "one without an answer", "one answer each", "first fails", "last fail", "fails at once", "none"],
)
def test_times_of_a_stream(
    requests: list[tuple[float, Sequence[float]]], failed: list[int], ttfr: list[float], gaps: list[float]
) -> None:
    trace = stream(requests, failed=failed, window=(0, 100))
    assert (first_responses(trace) * 1e3).tolist() == pytest.approx(ttfr)
    assert (inter_responses(trace) * 1e3).tolist() == pytest.approx(gaps)


def test_the_first_response_counts_from_the_scheduled_moment() -> None:
    trace = stream(TWO_IN_TURN, window=(0, 100))
    late = replace(trace, scheduled=trace.scheduled - 3 * MS)
    assert (first_responses(late) * 1e3).tolist() == pytest.approx([8, 5, 4])


def test_lag_is_of_open_loops_only() -> None:
    assert send_lags(open_loop([0.5, 0, 2])).tolist() == pytest.approx([0.0005, 0, 0.002])
    assert len(send_lags(stream(TWO_IN_TURN, window=(0, 100)))) == 0


def test_metrics_of_a_stream() -> None:
    requests = [(10 * number, [10 * number + at for at in (2, 4, 7)]) for number in range(100)]
    metrics = measure_trace(stream(requests, window=(0, 1000)), batch_size=1).metrics
    shown = {
        name: metrics[name].value for name in ("ttfr_p50", "inter_response_p50", "inter_response_p99", "responses")
    }
    assert shown == pytest.approx(
        {"ttfr_p50": 0.002, "inter_response_p50": 0.002, "inter_response_p99": 0.003, "responses": 3}
    )
    assert metrics["response_throughput"].value == pytest.approx(3 * metrics["throughput"].value) == pytest.approx(300)


def test_without_a_second_response_there_is_nothing_between_them() -> None:
    metrics = measure_trace(stream([(0, [1]), (5, [6])], window=(0, 10)), batch_size=1).metrics
    assert "ttfr_p99" in metrics
    assert not [name for name in metrics if name.startswith("inter_response")]


def test_a_load_that_is_no_stream_has_none_of_these() -> None:
    metrics = measure_trace(open_loop([0.0] * 50), batch_size=1).metrics
    assert not [name for name in metrics if "respon" in name or name.startswith("ttfr")]


def test_rates_of_an_open_loop() -> None:
    metrics = measure_trace(open_loop([0.1] * 200, unsent=50), batch_size=4).metrics
    assert metrics["offered_rate"].value == pytest.approx(125)
    assert metrics["achieved_rate"].value == pytest.approx(100)
    assert metrics["throughput"].value == pytest.approx(400)
    assert metrics["send_lag_p99"].value == pytest.approx(0.0001)
    assert metrics["p50"].value == pytest.approx(0.0051)


@pytest.mark.parametrize("answers", [[1, 5], [2, 2], [0, 6]])
def test_responses_per_second_go_by_what_each_request_got(answers: list[int]) -> None:
    requests = [(10 * n, [10 * n + 1 + each for each in range(answers[n % 2])]) for n in range(100)]
    estimate = measure_trace(stream(requests, window=(0, 1000)), batch_size=1).metrics["response_throughput"]
    assert estimate.value == pytest.approx(50 * sum(answers))
    assert estimate.low is not None
    assert estimate.low <= estimate.value


@pytest.mark.parametrize(
    ("name", "failed", "value"),
    [
        ("p50", [], 0.007),
        ("p99", [], 0.010),
        ("p99", [0], math.inf),
        ("mean", [], 0.008),
        ("max", [], 0.010),
        ("error_rate", [1], 1 / 4),
        ("send_lag_p50", [], 0.002),
        ("throughput", [], None),
        ("ttfr_p50", [], None),
    ],
)
def test_a_metric_so_far(name: str, failed: list[int], value: float | None) -> None:
    """Of two windows: latencies of 6, 7, 9 and 10 ms."""
    windows = [open_loop([1, 2], took=5.0), open_loop([4, 5], took=5.0)]
    windows[0].status[failed] = 503
    got = so_far(METRICS[name], windows)
    assert got == (pytest.approx(value) if value is not None else None)
    assert so_far(METRICS[name], []) is None
