"""Where the time of the slowest requests went: told where it is known, and not told where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.observation import ServerStatistics, Stretch, Trace
from pytest_triton.tail import estimate_tail

Parts = dict[str, NDArray[np.float64]]
Kind = Callable[[int, np.random.Generator], Parts]
NETWORK = 0.0005
LABELS = ["queue", "input", "infer", "output", "network + client"]


def slow_model(size: int, rng: np.random.Generator) -> Parts:
    """The model itself is slow now and then; the time in the queue has nothing to do with it."""
    slow = rng.random(size) < 0.08
    return {"queue": rng.exponential(0.001, size), "infer": np.where(slow, 0.060, 0.005) + rng.normal(0, 1e-4, size)}


def long_queue(size: int, rng: np.random.Generator) -> Parts:
    """The model always takes the same, the queue is long now and then."""
    slow = rng.random(size) < 0.08
    return {"queue": np.where(slow, 0.060, 0.001) + rng.exponential(0.001, size), "infer": np.full(size, 0.005)}


def both(size: int, rng: np.random.Generator) -> Parts:
    """Half of the slowest waited, the other half was computed slowly."""
    kind = rng.random(size)
    return {
        "queue": np.where(kind < 0.04, 0.060, 0.001) + rng.exponential(0.001, size),
        "infer": np.where(kind > 0.96, 0.060, 0.005),
    }


def measured(parts: Parts, *, every: float = 0.1, late: float = 0.0, twice: bool = False) -> Measurement:
    """A measurement of one connection with these parts of each request, in seconds, and the network's."""
    taken = sum(parts.values()) + NETWORK
    done = np.round(np.cumsum(taken) * 1e9).astype(np.int64)
    sent = np.concatenate(([0], done[:-1]))
    trace = Trace(sent, sent, done, done, np.zeros(len(done), dtype=np.int16), 0, int(done[-1]), 0.0, 1)
    stretches = tuple(_stretches(parts, done, every, late, 2 if twice else 1))
    return replace(measure_trace(trace, batch_size=1), stretches=stretches)


def _stretches(parts: Parts, done: NDArray[np.int64], every: float, late: float, times: int) -> Iterator[Stretch]:
    moments = np.arange(every, done[-1] / 1e9, every)
    ends = np.searchsorted(done, moments * 1e9, side="right")
    for moment, begin, end in zip(moments, (0, *ends), ends, strict=False):
        queue, infer = (round(parts[name][begin:end].sum() * 1e9) for name in ("queue", "infer"))
        counted = ServerStatistics(
            success_count=times * int(end - begin), queue_ns=times * queue, compute_infer_ns=times * infer
        )
        yield Stretch(round((moment + late) * 1e9), counted)


def truth(parts: Parts) -> tuple[float, dict[str, float]]:
    """Return the mean latency of the slowest 5 % of the requests, and the shares of its parts."""
    taken = sum(parts.values()) + NETWORK
    slowest = taken > np.quantile(taken, 0.95)
    return float(taken[slowest].mean()), {
        name: each[slowest].sum() / taken[slowest].sum() for name, each in parts.items()
    }


@pytest.mark.parametrize("late", [0.0, 0.003])
@pytest.mark.parametrize("kind", [slow_model, long_queue, both])
def test_what_the_slowest_spent_their_time_on_is_found(kind: Kind, late: float) -> None:
    parts = kind(4000, np.random.default_rng(7))
    mean, known = truth(parts)
    tail = estimate_tail(measured(parts, late=late))
    assert tail is not None
    assert list(tail.shares) == LABELS
    assert sum(tail.shares.values()) == pytest.approx(1.0)
    assert tail.mean == pytest.approx(mean)
    assert {name: tail.shares[name] for name in known} == pytest.approx(known, abs=tail.error + 0.02)
    assert tail.error <= 0.10
    assert tail.stretches > 100


def test_the_error_covers_the_truth() -> None:
    """Two standard errors: of many estimates, about one in twenty is further off."""
    missed, told = 0, 0
    for seed in range(60):
        parts = both(4000, np.random.default_rng(seed))
        tail = estimate_tail(measured(parts))
        if tail is not None:
            told += 1
            missed += abs(tail.shares["queue"] - truth(parts)[1]["queue"]) > tail.error
    assert told >= 30
    assert missed <= 0.15 * told


@pytest.mark.parametrize(
    ("measurement", "why"),
    [
        (measured(slow_model(100, np.random.default_rng(1))), "too few stretches, and too few slow requests"),
        (measured(slow_model(4000, np.random.default_rng(1)), every=4.0), "too few stretches"),
        (measured(slow_model(4000, np.random.default_rng(1)), twice=True), "others send requests to the model, too"),
        (replace(measured(slow_model(4000, np.random.default_rng(1))), stretches=()), "no statistics were read"),
        (replace(measured(slow_model(4000, np.random.default_rng(1))), trace=None), "no single requests are known"),
        (measured({"queue": np.full(4000, 0.001), "infer": np.full(4000, 0.005)}), "none is slower than the others"),
        (Measurement({}), "nothing is known"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cannot_be_told_is_not(measurement: Measurement, why: str) -> None:
    assert estimate_tail(measurement) is None, why


def test_stretches_that_are_all_alike_tell_nothing() -> None:
    """Every tenth request is slow, in a queue that is as long in every stretch: which part it is nobody knows."""
    slow = np.arange(4000) % 20 == 0
    parts = {"queue": np.full(4000, 0.001), "infer": np.where(slow, 0.0425, 0.0025)}
    assert estimate_tail(measured(parts, every=0.12)) is None


def test_windows_that_were_joined_are_left_alone() -> None:
    known = measured(slow_model(4000, np.random.default_rng(1)))
    assert known.trace is not None
    assert estimate_tail(replace(known, trace=replace(known.trace, windows=2))) is None
