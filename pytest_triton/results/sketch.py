"""Latencies kept for later comparisons: a histogram of each of up to 20 batches, in a few KiB.

Percentiles alone could not be compared later with an honest interval, since latencies under load hang together. So the
requests are cut, in the order of their completion, into the batches that the verdict's rules work with, and of each the
whole distribution is kept, in buckets whose bounds grow by a constant factor (DDSketch: Masson, Rim, Lee, VLDB 2019).
Any percentile, of the whole or of a batch, and the share of a batch above any limit come back within ``accuracy``. A
sketch that would be too large has its buckets joined in pairs (UDDSketch: Epicoco et al., IEEE Access 2020).
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_triton.observation import Trace
from pytest_triton.series import latencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

BATCHES = 20
ACCURACY = 0.01
LIMIT = 4096
"""Largest size of a written sketch, in bytes before base64."""

_SHORTEST = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """What is kept of a measurement's latencies.

    ``counts`` has a row for each batch and a column for each bucket; bucket ``first + column`` ends at
    ``growth ** (first + column)`` seconds. ``failed`` counts each batch's failed requests, which are in no bucket;
    ``seconds`` is how long each batch took, so that its throughput is known, too.
    """

    growth: float
    first: int
    counts: Counts
    failed: Counts
    seconds: Floats

    @classmethod
    def of(cls, trace: Trace) -> Sketch:
        """Make the sketch of a trace with at least one request."""
        growth = (1 + ACCURACY) / (1 - ACCURACY)
        slow = latencies(trace)
        good = np.isfinite(slow)
        indices = np.ceil(np.log(np.maximum(slow[good], _SHORTEST)) / math.log(growth)).astype(np.int64)
        first = int(indices.min()) if len(indices) else 0
        width = int(indices.max()) - first + 1 if len(indices) else 1
        batches = min(BATCHES, len(slow))
        bounds = np.arange(batches + 1) * len(slow) // batches
        batch = np.repeat(np.arange(batches), np.diff(bounds))
        counts = np.zeros((batches, width), dtype=np.int64)
        np.add.at(counts, (batch[good], indices - first), 1)
        ends = trace.done[bounds[1:] - 1].astype(np.int64)
        ends[-1] = max(ends[-1], trace.ended_ns)
        seconds = np.diff(np.concatenate([[trace.started_ns], ends])) / 1e9
        return cls(growth, first, counts, np.bincount(batch[~good], minlength=batches), seconds)

    @property
    def accuracy(self) -> float:
        """The largest relative error of a latency that comes back."""
        return (self.growth - 1) / (self.growth + 1)

    @property
    def requests(self) -> int:
        """How many requests there were, failed ones included."""
        return int(self.counts.sum() + self.failed.sum())

    def quantile(self, q: float) -> float:
        """Return a quantile of all requests in seconds, infinite when more failed than it leaves out."""
        return self._quantile(self.counts.sum(axis=0), int(self.failed.sum()), q)

    def batch_quantiles(self, q: float) -> Floats:
        """Return the quantile of each batch, in order."""
        rows = zip(self.counts, self.failed, strict=True)
        return np.array([self._quantile(counts, int(failed), q) for counts, failed in rows])

    def exceeding(self, limit: float) -> Counts:
        """Count in each batch the requests that failed or took longer than ``limit`` seconds."""
        over = self._middle(np.arange(self.counts.shape[1])) > limit
        counted: Counts = self.counts[:, over].sum(axis=1) + self.failed
        return counted

    def _quantile(self, counts: Counts, failed: int, q: float) -> float:
        running = np.cumsum(counts)
        rank = max(1, math.ceil(q * (int(running[-1]) + failed)))
        return float(self._middle(np.searchsorted(running, rank))) if rank <= running[-1] else math.inf

    def _middle(self, column: Any) -> Any:
        """Return the value that is off by the same fraction from both bounds of a bucket."""
        return 2 * self.growth ** (self.first + column) / (self.growth + 1)

    def coarsen(self) -> Sketch:
        """Join the buckets in pairs."""
        last = self.first + self.counts.shape[1] - 1
        first = -(-self.first // 2)
        counts = np.zeros((len(self.counts), -(-last // 2) - first + 1), dtype=np.int64)
        columns = -(-np.arange(self.first, last + 1) // 2) - first
        np.add.at(counts.T, columns, self.counts.T)
        return Sketch(self.growth**2, first, counts, self.failed, self.seconds)

    def write(self) -> bytes:
        """Return it in at most ``LIMIT`` bytes, coarser where that is needed."""
        values = {
            "growth": self.growth,
            "first": self.first,
            "counts": self.counts.tolist(),
            "failed": self.failed.tolist(),
            "seconds": [round(value, 9) for value in self.seconds.tolist()],
        }
        written = zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 9)
        return written if len(written) <= LIMIT or self.counts.shape[1] == 1 else self.coarsen().write()

    @classmethod
    def read(cls, written: bytes) -> Sketch:
        """Read what ``write`` returned. Raises ``ValueError`` for anything else."""
        try:
            values = json.loads(zlib.decompress(written))
            counts, failed = (np.array(values[name], dtype=np.int64) for name in ("counts", "failed"))
            return cls(values["growth"], values["first"], counts, failed, np.array(values["seconds"], dtype=float))
        except (zlib.error, KeyError, TypeError) as error:
            raise ValueError(f"no sketch of latencies: {error!r}") from error


def write_latencies(trace: Trace) -> str:
    """Return the sketch of a trace as a record has it; empty when nothing was sent."""
    return base64.b64encode(Sketch.of(trace).write()).decode() if len(trace) else ""


def read_latencies(written: str) -> Sketch | None:
    """Read ``write_latencies`` back; None where no requests were kept."""
    return Sketch.read(base64.b64decode(written)) if written else None
