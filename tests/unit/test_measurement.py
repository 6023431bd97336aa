"""From what was observed to a measurement: every metric, and when it is not valid."""

import heapq
import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import Estimate
from pytest_triton.observation import GpuUsage, ResourceUsage, ServerStatistics, Trace
from pytest_triton.series import latencies
from pytest_triton.windows import merge, trim

MS = 1_000_000


def closed_loop(
    concurrency: int,
    requests: int,
    service: Callable[[], float] = lambda: 0.02,
    *,
    instances: int | None = None,
    think: float = 0.0,
    cpu: float = 0.0,
) -> Trace:
    """Simulate ``concurrency`` connections that send again ``think`` seconds after an answer; times in seconds.

    The server has ``instances`` workers and one queue. The trace holds what completed in a window that opens in the
    middle of the load: some requests were sent before it, and at its end some are still out.
    """
    free = [0.0] * (instances or concurrency)
    ready = [1e-4 * i for i in range(concurrency)]
    times: list[tuple[float, float]] = []
    for _ in range(requests + 8 * concurrency):
        sent, worker = heapq.heappop(ready), heapq.heappop(free)
        done = max(sent, worker) + service()
        times.append((done, sent))
        heapq.heappush(free, done)
        heapq.heappush(ready, done + think)
    times.sort()
    start, end = times[2 * concurrency][0], times[2 * concurrency + requests][0]
    inside = [(sent, done) for done, sent in times if start < done <= end]
    return trace_of(inside, start, end, concurrency, cpu=cpu)


def trace_of(
    spans: list[tuple[float, float]], start: float, end: float, concurrency: int = 1, *, cpu: float = 0.0
) -> Trace:
    sent = np.array([round(s * 1e9) for s, _ in spans], dtype=np.int64)
    done = np.array([round(d * 1e9) for _, d in spans], dtype=np.int64)
    status = np.zeros(len(spans), dtype=np.int16)
    return Trace(sent, sent, done, done, status, round(start * 1e9), round(end * 1e9), cpu, concurrency)


def with_failures(trace: Trace, *which: int, status: int = 500) -> Trace:
    codes = trace.status.copy()
    codes[list(which)] = status
    return replace(trace, status=codes, reasons={500: "Internal Server Error", -1: "timed out"})


def value(measurement: Measurement, name: str) -> float:
    return measurement.metrics[name].value


def test_the_client_s_metrics() -> None:
    measurement = measure_trace(closed_loop(4, 400, cpu=0.5), batch_size=8, warmup_seconds=1.5)
    assert measurement.problems == ()
    assert (measurement.requests, measurement.failures, measurement.warmup_seconds) == (400, 0, 1.5)
    assert value(measurement, "throughput") == pytest.approx(4 * 8 / 0.02, rel=0.02)
    for name in ("p50", "p90", "p95", "p99", "p999", "mean", "max"):
        assert value(measurement, name) == pytest.approx(0.02, rel=1e-6)
    assert value(measurement, "error_rate") == 0
    assert value(measurement, "client_cpu_per_request") == pytest.approx(0.5 / 400)
    assert value(measurement, "client_cpu") == pytest.approx(0.25, rel=0.02)


def test_what_is_not_known_is_left_out() -> None:
    metrics = measure_trace(closed_loop(1, 20), batch_size=1).metrics
    assert not {"server_queue", "batch", "rss", "cpu", "gpu_memory", "gpu_utilization", "load_time"} & set(metrics)


def test_the_server_s_metrics() -> None:
    counted = ServerStatistics(
        inference_count=800,
        execution_count=100,
        success_count=200,
        queue_ns=200 * 3 * MS,
        compute_input_ns=200 * 1 * MS,
        compute_infer_ns=200 * 10 * MS,
        compute_output_ns=200 * 2 * MS,
    )
    measurement = measure_trace(closed_loop(1, 200), batch_size=4, statistics=counted, extras={"load_time": 1.25})
    assert value(measurement, "server_queue") == pytest.approx(0.003)
    assert value(measurement, "server_compute_input") == pytest.approx(0.001)
    assert value(measurement, "server_compute_infer") == pytest.approx(0.010)
    assert value(measurement, "server_compute_output") == pytest.approx(0.002)
    assert value(measurement, "batch") == 8
    assert value(measurement, "load_time") == 1.25


def test_answers_from_the_cache_were_not_computed() -> None:
    counted = ServerStatistics(success_count=200, cache_hit_count=150, queue_ns=200 * MS, compute_infer_ns=50 * 10 * MS)
    measurement = measure_trace(closed_loop(1, 200), batch_size=1, statistics=counted)
    assert value(measurement, "server_queue") == pytest.approx(0.001)
    assert value(measurement, "server_compute_infer") == pytest.approx(0.010)
    assert "batch" not in measurement.metrics


def test_the_resources() -> None:
    before = ResourceUsage(rss=100, cpu_seconds=1.0, quota_periods=10, throttled_periods=3)
    after = ResourceUsage(rss=300, cpu_seconds=4.0, quota_periods=30, throttled_periods=8, at_ns=2_000 * MS)
    measurement = measure_trace(closed_loop(1, 20), batch_size=1, before=before, after=after)
    assert value(measurement, "rss") == 300
    assert value(measurement, "cpu") == pytest.approx(1.5)
    assert value(measurement, "cpu_throttled") == pytest.approx(0.25)


def test_what_gpus_did_is_told_and_energy_by_inferences() -> None:
    gpu = GpuUsage(5, 0.3, power=200.0, clock=1.5e9, throttled=0.0, readings=20, seconds=2.0)
    measurement = measure_trace(closed_loop(1, 200), batch_size=4, gpu=gpu)
    told = {name: value(measurement, name) for name in ("gpu_memory", "gpu_utilization", "gpu_power", "gpu_clock")}
    assert told == {"gpu_memory": 5, "gpu_utilization": 0.3, "gpu_power": 200.0, "gpu_clock": 1.5e9}
    assert measurement.cautions == ()
    energy, throughput = measurement.metrics["energy_per_inference"], measurement.metrics["throughput"]
    assert energy.value == pytest.approx(200 / throughput.value)
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low <= energy.value <= energy.high
    assert measurement.as_dict()["energy_per_inference"]["unit"] == "J"


def test_clocks_that_were_held_down_make_cautious_but_for_a_moment() -> None:
    def cautions(readings: int) -> tuple[str, ...]:
        gpu = GpuUsage(slowdowns={"HW thermal slowdown": readings / 20}, readings=20)
        return measure_trace(closed_loop(1, 20), batch_size=1, gpu=gpu).cautions

    assert cautions(1) == ()
    assert cautions(5) == ("the GPU was throttled for 25% of the time (HW thermal slowdown: it was too hot)",)


def test_latency_counts_from_the_scheduled_moment() -> None:
    trace = trace_of([(0.5, 1.0)], 0.0, 1.0)
    late = replace(trace, scheduled=trace.sent - 100 * MS)
    assert latencies(late).tolist() == pytest.approx([0.6])


def test_failed_requests_exceed_every_percentile_they_reach() -> None:
    trace = with_failures(closed_loop(1, 100), 3, 50, 70)
    measurement = measure_trace(with_failures(trace, 3, status=-1), batch_size=1)
    assert measurement.problems == ()
    assert (measurement.requests, measurement.failures) == (100, 3)
    assert measurement.reasons == {"Internal Server Error": 2, "timed out": 1}
    assert value(measurement, "error_rate") == pytest.approx(0.03)
    assert value(measurement, "throughput") == pytest.approx(97 / 2.0, rel=0.02)
    assert value(measurement, "p95") == pytest.approx(0.02)
    assert value(measurement, "p99") == math.inf
    assert value(measurement, "max") == math.inf
    assert value(measurement, "mean") == pytest.approx(0.02)


def test_an_unknown_status_is_named_by_its_number() -> None:
    trace = replace(with_failures(closed_loop(1, 10), 1, status=418), reasons={})
    assert measure_trace(trace, batch_size=1).reasons == {"status 418": 1}


@pytest.mark.parametrize("requests", [1, 2, 3, 10, 19, 50])
def test_a_handful_of_requests_measures_without_complaint(requests: int) -> None:
    measurement = measure_trace(closed_loop(1, requests), batch_size=1)
    assert measurement.problems == ()
    for estimate in measurement.metrics.values():
        assert math.isfinite(estimate.value)
        assert estimate.low is None or estimate.low <= estimate.value
        assert estimate.high is None or estimate.high >= estimate.value


# Valid, or not


def test_no_request_is_no_measurement() -> None:
    measurement = measure_trace(trace_of([], 0.0, 2.0), batch_size=1)
    assert measurement.problems == ("no request completed in 2.00 s",)
    assert measurement.metrics == {}


def test_only_failures_are_no_measurement() -> None:
    trace = with_failures(closed_loop(2, 50), *range(50))
    measurement = measure_trace(trace, batch_size=1)
    assert measurement.problems == ("none of 50 requests succeeded; 50 of them: Internal Server Error",)
    assert value(measurement, "error_rate") == 1.0
    assert not any(math.isnan(estimate.value) for estimate in measurement.metrics.values())


def test_a_client_at_its_limit_is_no_measurement() -> None:
    (problem,) = measure_trace(closed_loop(1, 100, cpu=1.9), batch_size=1).problems
    assert "the load generator used 95% of a core" in problem
    assert measure_trace(closed_loop(1, 100, cpu=1.7), batch_size=1).problems == ()


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("think", [0.1, 0.25])
def test_a_client_that_does_not_keep_up_is_found(concurrency: int, think: float) -> None:
    rng = np.random.default_rng(1)
    trace = closed_loop(concurrency, 500, lambda: rng.exponential(0.02), think=0.02 * think)
    (problem,) = measure_trace(trace, batch_size=1).problems
    assert f"not {concurrency} (Little's law)" in problem


@pytest.mark.parametrize("requests", [10, 100, 300])
@pytest.mark.parametrize(("concurrency", "instances"), [(1, 1), (4, 1), (4, 4), (16, 3)])
@pytest.mark.parametrize("kind", ["steady", "exponential", "heavy", "stalls"])
def test_an_honest_closed_loop_is_never_accused(requests: int, concurrency: int, instances: int, kind: str) -> None:
    rng = np.random.default_rng(2)
    service = {
        "steady": lambda: 0.02,
        "exponential": lambda: rng.exponential(0.02),
        "heavy": lambda: rng.lognormal(-5, 1.5),
        "stalls": lambda: 0.02 + (rng.random() < 0.01),
    }[kind]
    for _ in range(10):
        trace = closed_loop(concurrency, requests, service, instances=instances)
        assert measure_trace(trace, batch_size=1).problems == ()


def test_more_in_flight_than_asked_for_is_found_too() -> None:
    (problem,) = measure_trace(replace(closed_loop(5, 200), concurrency=4), batch_size=1).problems
    assert "4.98 requests were in flight on average, not 4" in problem


def test_a_caller_adds_what_only_it_knows() -> None:
    measurement = measure_trace(closed_loop(1, 10), batch_size=1).add_problem("the server died").add_problem("twice")
    assert measurement.problems == ("the server died", "twice")


# Windows


def cut(trace: Trace, at_ns: int) -> tuple[Trace, Trace]:
    def part(keep: np.ndarray, start: int, end: int) -> Trace:
        arrays = {
            name: getattr(trace, name)[keep] for name in ("scheduled", "sent", "first_response", "done", "status")
        }
        return replace(trace, **arrays, started_ns=start, ended_ns=end, cpu_seconds=trace.cpu_seconds / 2)

    early = trace.done <= at_ns
    return part(early, trace.started_ns, at_ns), part(~early, at_ns, trace.ended_ns)


def test_windows_of_one_load_join_to_the_whole() -> None:
    whole = with_failures(closed_loop(4, 400, cpu=0.4), 7)
    joined = merge(cut(whole, int(whole.done[150])))
    assert measure_trace(joined, batch_size=1) == measure_trace(whole, batch_size=1)
    assert joined.windows == 1
    assert joined.cpu_seconds == pytest.approx(0.4)


def test_time_between_windows_is_taken_out() -> None:
    one, two = closed_loop(4, 200), closed_loop(4, 200)
    gap = 10**10
    later = replace(
        two,
        **{name: getattr(two, name) + gap for name in ("scheduled", "sent", "first_response", "done")},
        started_ns=two.started_ns + gap,
        ended_ns=two.ended_ns + gap,
    )
    joined = merge([one, later])
    assert joined.windows == 2
    assert joined.seconds == pytest.approx(one.seconds + two.seconds)
    measurement = measure_trace(joined, batch_size=1)
    assert measurement.problems == ()
    assert value(measurement, "throughput") == pytest.approx(200.0, rel=0.02)
    assert value(measurement, "p99") == pytest.approx(0.02)


def test_joined_windows_still_show_a_slow_client() -> None:
    one = closed_loop(4, 1000, think=0.01)
    two = replace(one, started_ns=one.started_ns + 10**12, ended_ns=one.ended_ns + 10**12)
    moved = {name: getattr(one, name) + 10**12 for name in ("scheduled", "sent", "first_response", "done")}
    (problem,) = measure_trace(merge([one, replace(two, **moved)]), batch_size=1).problems
    assert "Little's law" in problem


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="no trace"):
        merge([])


def test_a_trimmed_trace_holds_no_request_of_the_warm_up() -> None:
    trace = closed_loop(4, 400, cpu=1.0)
    after = int(trace.done[100]) + 1
    rest = trim(trace, after)
    assert (rest.sent >= after).all()
    assert value(measure_trace(rest, batch_size=1), "throughput") == pytest.approx(200.0, rel=0.05)
    assert rest.cpu_seconds == pytest.approx(rest.seconds / trace.seconds)


def test_trimming_beyond_the_end_leaves_nothing() -> None:
    trace = closed_loop(1, 10)
    rest = trim(trace, trace.ended_ns + 1)
    assert (len(rest), rest.seconds) == (0, 0.0)


# JSON


def test_json_and_back() -> None:
    measurement = measure_trace(
        with_failures(closed_loop(1, 60), 5), batch_size=1, extras={"load_time": 1.5}, warmup_seconds=1.0
    )
    text = json.dumps(measurement.as_dict(), allow_nan=False)
    again = Measurement.from_dict(json.loads(text), requests=60)
    assert again.metrics == measurement.metrics
    assert again.requests == 60
    assert measurement.as_dict()["load_time"] == {"value": 1.5, "low": None, "high": None, "unit": "s"}
    assert measurement.as_dict()["max"]["value"] is None


def test_metrics_of_a_later_version_are_left_out() -> None:
    assert Measurement.from_dict({"p98": {"value": 1}, "p99": {"value": 2}}).metrics == {"p99": Estimate(2)}
