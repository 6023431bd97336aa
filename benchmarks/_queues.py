"""Simulated servers: latencies of requests that arrive at random, in queues whose true quantiles can be known.

Many independent runs advance together, one request at a time, as columns of an array. Times are in mean service times,
but for ``done``, which is in mean gaps between two arrivals, so that a window of time is a number of requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Service = Literal["0.1", "0.3", "1", "bimodal", "drift", "slow drift", "stalls", "batches"]

SPREADS: tuple[Service, ...] = ("0.1", "0.3", "1", "bimodal")
"""Coefficients of variation of gamma distributed service times, and a mixture: 90 % take about 0.5, 10 % about 5.5."""
SPECIAL: tuple[Service, ...] = ("drift", "slow drift", "stalls", "batches")
"""Gamma service with a coefficient of variation of 0.3 whose mean drifts (first-order autoregression, deviation of
10 %, over 100 requests, or 1,000: more than a first look sees); of which 1 % is stalled for ten service times; or which
serves up to 8 at once."""

_LARGEST_BATCH = 8
_BATCH_SHARE = 0.5
"""Part of a batch's time that does not grow with the requests in it."""
_PART, _PART_LENGTH = 200, 15_000
"""Runs, and requests in each, that are simulated at a time for the true quantiles."""
_MEMORY: dict[Service, float] = {"drift": 0.99, "slow drift": 0.999}
_DRIFT = 0.1
_STALLED = 0.01
_STALL = 10.0


@dataclass(frozen=True)
class Queue:
    """Poisson arrivals to ``servers`` servers that are busy a share ``load`` of the time; first come, first served."""

    servers: int
    service: Service
    load: float

    def __str__(self) -> str:
        return f"M/G/{self.servers} {self.service} {self.load}"

    def draw(self, rng: np.random.Generator, runs: int, size: int) -> tuple[Floats, Floats]:
        """Return latencies and moments of completion of ``runs`` x ``size`` requests, from equilibrium on.

        Both in the order of completion, as an engine records them.
        """
        arrived, latencies = self._simulate(rng, runs, size)
        done = arrived + latencies * self.load * self.servers
        order = np.argsort(done, axis=1, kind="stable")
        return np.take_along_axis(latencies, order, axis=1), np.take_along_axis(done, order, axis=1)

    def quantiles(self, rng: np.random.Generator, ps: Floats, samples: int) -> Floats:
        """Return the true quantiles of latency, from ``samples`` of them."""
        parts = math.ceil(samples / (_PART * _PART_LENGTH))
        drawn = [self._simulate(rng, _PART, _PART_LENGTH)[1].astype(np.float32) for _ in range(parts)]
        found: Floats = np.quantile(np.concatenate(drawn), ps, method="inverted_cdf")
        return found

    def _simulate(self, rng: np.random.Generator, runs: int, size: int) -> tuple[Floats, Floats]:
        """Return moments of arrival and latencies in the order of arrival, without what comes before equilibrium."""
        skip = 500 + math.ceil(20 / (1 - self.load) ** 2)
        simulate = _serve_in_batches if self.service == "batches" else _serve_each
        arrived, latencies = simulate(self, rng, runs, skip + size)
        return arrived[:, skip:], latencies[:, skip:]


def _serve_each(queue: Queue, rng: np.random.Generator, runs: int, size: int) -> tuple[Floats, Floats]:
    """Kiefer & Wolfowitz's recursion (1955): the work each server has left, in ascending order, at every arrival."""
    left = np.zeros((queue.servers, runs))
    latencies, gaps = np.empty((size, runs)), rng.exponential(1.0, (size, runs))
    between = 1 / (queue.load * queue.servers)
    for row, gap, took in zip(latencies, gaps, _service_times(queue.service, rng, runs), strict=False):
        left -= gap * between
        np.maximum(left, 0.0, out=left)
        left[0] += took
        row[:] = left[0]
        if queue.servers > 1:
            left.sort(axis=0)
    return np.ascontiguousarray(np.cumsum(gaps, axis=0).T), np.ascontiguousarray(latencies.T)


def _service_times(service: Service, rng: np.random.Generator, runs: int) -> Iterator[Floats]:
    """Yield the service times of one request in each run, of mean 1, without end."""
    drift = rng.normal(0, _DRIFT, runs)
    while True:
        if service == "bimodal":
            # Spread a little: at an atom of the distribution no limit has exactly the exceedances that are allowed.
            yield np.where(rng.random(runs) < 0.1, 5.5, 0.5) * _gamma(rng, 0.1, runs)
        elif service in _MEMORY:
            memory = _MEMORY[service]
            drift = memory * drift + rng.normal(0, _DRIFT * math.sqrt(1 - memory**2), runs)
            yield _gamma(rng, 0.3, runs) * np.exp(drift - _DRIFT**2 / 2)
        elif service == "stalls":
            stalled = np.where(rng.random(runs) < _STALLED, _STALL, 0.0)
            yield (_gamma(rng, 0.3, runs) + stalled) / (1 + _STALLED * _STALL)
        else:
            yield _gamma(rng, float(service), runs)


def _gamma(rng: np.random.Generator, variation: float, runs: int) -> Floats:
    return rng.gamma(variation**-2, variation**2, runs)


def _serve_in_batches(queue: Queue, rng: np.random.Generator, runs: int, size: int) -> tuple[Floats, Floats]:
    """Serve all that wait, up to 8 at once; the load is a share of what full batches could serve."""
    whole = _BATCH_SHARE + (1 - _BATCH_SHARE) * _LARGEST_BATCH
    gaps = rng.exponential(1.0, (runs, size))
    arrived = np.cumsum(gaps, axis=1)
    between = whole / _LARGEST_BATCH / (queue.load * queue.servers)
    moments = np.concatenate((arrived * between, np.full((runs, _LARGEST_BATCH), np.inf)), axis=1)
    ends = np.zeros((runs, size + _LARGEST_BATCH))
    every, window = np.arange(runs), np.arange(_LARGEST_BATCH)
    first, free = np.zeros(runs, dtype=np.int64), np.zeros((queue.servers, runs))
    while (first < size).any():
        places = first[:, None] + window
        waiting = moments[every[:, None], places]
        start = np.maximum(free[0], np.where(first < size, waiting[:, 0], free[0]))
        taken = waiting <= start[:, None]
        count = taken.sum(axis=1)
        free[0] = start + (_BATCH_SHARE + (1 - _BATCH_SHARE) * count) * _gamma(rng, 0.3, runs)
        ends[every[:, None], places] = np.where(taken, free[0][:, None], ends[every[:, None], places])
        first = np.minimum(first + count, size)
        free.sort(axis=0)
    latencies = (ends[:, :size] - moments[:, :size]) * (_LARGEST_BATCH / whole)
    return arrived, latencies
