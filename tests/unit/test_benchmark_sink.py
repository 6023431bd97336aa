"""What pytest-benchmark is shown of a trace."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import open_loop

from pytest_triton.measurement import measure_trace
from pytest_triton.observation import Trace
from pytest_triton.plugin.benchmark_sink import ReplayClock, latency_samples, throughput_samples


def closed_loop(done: list[float], *, failed: list[int] | None = None, seconds: float = 1.0) -> Trace:
    """A trace of requests that ended at these seconds."""
    times = np.array([round(each * 1e9) for each in done], dtype=np.int64)
    status = np.zeros(len(done), dtype=np.int16)
    status[failed or []] = 503
    return Trace(times - 1, times - 1, times, times, status, 0, round(seconds * 1e9), 0.0, concurrency=1)


@given(
    st.lists(st.floats(0.001, 10.0), min_size=1, max_size=300),
    st.integers(1, 8),
    st.lists(st.booleans(), min_size=300, max_size=300),
)
def test_the_mean_of_a_closed_loop_is_the_time_per_inference(done, batch_size, fails):
    trace = closed_loop(sorted(done), failed=[i for i in range(len(done)) if fails[i]], seconds=10.0)
    samples = throughput_samples(trace, batch_size)
    if all(fails[: len(done)]):
        assert samples == []
        return
    throughput = measure_trace(trace, batch_size=batch_size).metrics["throughput"].value
    assert 1 / statistics.mean(samples) == pytest.approx(throughput, rel=1e-9)
    assert len(samples) <= 20
    assert min(samples) >= 0


def test_a_stall_is_seen_in_one_sample():
    done = [(number + 1) / 100 + (0.5 if number >= 50 else 0) for number in range(100)]
    samples = throughput_samples(closed_loop(done, seconds=1.5), 1)
    assert len(samples) == 20
    assert max(samples) == pytest.approx((0.05 + 0.5) / 5)
    assert sorted(samples)[:-1] == pytest.approx([0.01] * 19)


def test_an_open_loop_shows_the_latencies_of_what_succeeded():
    trace = open_loop([0.0, 1.0, 2.0], took=5.0)
    trace.status[1] = 503
    assert latency_samples(trace) == pytest.approx([0.005, 0.007])


def test_the_clock_replays_exactly_and_is_the_real_one_otherwise():
    clock = ReplayClock()
    before = time.perf_counter()
    assert before <= clock() <= time.perf_counter()
    samples = [1e9, 1e-9, 0.1]
    clock.load(samples)
    for sample in samples:
        clock.reset()
        start = clock()
        clock.advance()
        assert clock() - start == sample
    clock.advance()  # Profiling runs it once more.
    assert clock() == samples[-1]
    clock.release()
    assert before <= clock() <= time.perf_counter()
