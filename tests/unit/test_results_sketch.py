"""Latencies that were kept: how exactly they come back, and how large they get."""

from __future__ import annotations

import base64
import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_triton.observation import Trace
from pytest_triton.results.sketch import ACCURACY, BATCHES, LIMIT, Sketch, read_latencies, write_latencies


def trace_of(seconds: NDArray[np.float64], failed: tuple[int, ...] = ()) -> Trace:
    """Requests one after the other, each as long as it says."""
    done = np.cumsum(np.maximum((seconds * 1e9).astype(np.int64), 1))
    sent = done - np.maximum((seconds * 1e9).astype(np.int64), 1)
    status = np.zeros(len(seconds), dtype=np.int16)
    status[list(failed)] = 500
    return Trace(
        scheduled=sent,
        sent=sent,
        first_response=done,
        done=done,
        status=status,
        started_ns=0,
        ended_ns=int(done[-1]) if len(done) else 0,
        cpu_seconds=0.0,
        concurrency=1,
    )


def round_trip(trace: Trace) -> Sketch:
    sketch = read_latencies(write_latencies(trace))
    assert sketch is not None
    return sketch


SHAPES = {
    "all alike": np.full(500, 0.02),
    "log-normal": np.exp(np.random.default_rng(1).normal(-4, 0.5, 20_000)),
    "two modes": np.where(np.random.default_rng(2).random(5000) < 0.1, 2.0, 0.001),
    "nine decades": 10.0 ** np.random.default_rng(3).uniform(-6, 3, 3000),
    "one request": np.array([0.5]),
    "fewer than batches": np.linspace(0.01, 0.07, 7),
}


@pytest.mark.parametrize("seconds", SHAPES.values(), ids=SHAPES)
def test_quantiles_come_back_within_the_accuracy(seconds):
    sketch = round_trip(trace_of(seconds))
    assert sketch.requests == len(seconds)
    for q in (0.0, 0.5, 0.9, 0.99, 1.0):
        true = np.quantile(np.floor(seconds * 1e9) / 1e9, q, method="inverted_cdf")
        assert sketch.quantile(q) == pytest.approx(true, rel=sketch.accuracy * 1.01), q
    batches = np.array_split(seconds, len(sketch.counts)) if len(seconds) % BATCHES == 0 else None
    if batches is not None:
        medians = [np.quantile(batch, 0.5, method="inverted_cdf") for batch in batches]
        assert sketch.batch_quantiles(0.5) == pytest.approx(medians, rel=sketch.accuracy * 1.01)


@pytest.mark.parametrize("seconds", SHAPES.values(), ids=SHAPES)
def test_a_sketch_is_small_and_the_usual_one_exact(seconds):
    trace = trace_of(seconds)
    assert len(base64.b64decode(write_latencies(trace))) <= LIMIT
    usual = np.ptp(np.log10(seconds)) < 4 and len(seconds) < 10_000
    assert not usual or round_trip(trace).accuracy == pytest.approx(ACCURACY)


def test_what_cannot_be_small_gets_coarser_and_loses_no_request():
    seconds = 10.0 ** np.random.default_rng(4).uniform(-9, 3, 200_000)
    sketch = round_trip(trace_of(seconds, failed=(5, 199_999)))
    assert ACCURACY < sketch.accuracy < 0.2
    assert sketch.requests == 200_000
    assert sketch.quantile(0.5) == pytest.approx(np.median(seconds), rel=sketch.accuracy * 1.1)


def test_failed_requests_exceed_every_limit():
    sketch = round_trip(trace_of(np.full(100, 0.01), failed=(0, 1, 2, 50)))
    assert sketch.quantile(0.96) == pytest.approx(0.01, rel=0.01)
    assert sketch.quantile(0.97) == math.inf
    assert sketch.exceeding(1.0).sum() == 4
    assert sketch.exceeding(1.0)[0] == 3
    assert sketch.exceeding(0.005).sum() == 100
    assert round_trip(trace_of(np.full(3, 0.01), failed=(0, 1, 2))).quantile(0.1) == math.inf


def test_batches_tell_their_throughput():
    seconds = np.concatenate([np.full(50, 0.01), np.full(50, 0.03)])
    sketch = round_trip(trace_of(seconds))
    assert sketch.counts.shape[0] == BATCHES
    assert sketch.seconds[:10] == pytest.approx([0.05] * 10)
    assert sketch.seconds[10:] == pytest.approx([0.15] * 10)


def test_no_request_no_sketch():
    assert write_latencies(trace_of(np.empty(0))) == ""
    assert read_latencies("") is None


@pytest.mark.parametrize("written", [b"", b"nonsense", zlib.compress(b"{}"), zlib.compress(json.dumps([1]).encode())])
def test_nonsense_is_no_sketch(written):
    with pytest.raises(ValueError, match="no sketch"):
        Sketch.read(written)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.floats(0, 1))
def test_coarser_buckets_still_hold_every_request(seconds, q):
    sketch = Sketch.of(trace_of(np.array(seconds)))
    coarse = sketch.coarsen().coarsen()
    assert coarse.requests == len(seconds)
    assert coarse.quantile(q) == pytest.approx(sketch.quantile(q), rel=coarse.accuracy + sketch.accuracy)
