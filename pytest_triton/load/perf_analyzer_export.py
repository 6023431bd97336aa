"""Perf Analyzer's profile export, read into the columns of a trace."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pytest_triton.errors import EngineError
from pytest_triton.observation import OK

if TYPE_CHECKING:
    from pytest_triton.observation import Codes, Indices, Times

_DRIFT = 5_000_000
"""By how many ns the clocks may move against each other during a run."""


class BrokenExport(EngineError):
    """The export breaks off: Perf Analyzer stops writing where a tensor holds a NaN or an infinity.

    It also writes down tensors of an empty response, which hold what was in its memory by chance.
    """


class Clock:
    """What lies between the system's clock, which Perf Analyzer reads, and the monotonic one."""

    def __init__(self) -> None:
        self._began = _offset()

    def offset(self) -> int:
        """Return the ns to add to the system's time. Raises ``EngineError`` when it was set meanwhile."""
        now = _offset()
        if abs(now - self._began) > _DRIFT:
            raise EngineError(
                "the system's clock was set while Perf Analyzer ran, so its times cannot be told",
                hint="Run again, or choose --triton-engine=wire.",
            )
        return (now + self._began) // 2


def _offset() -> int:
    """Return monotonic - system time; of three readings the one that was interrupted least."""
    readings = []
    for _ in range(3):
        before, system, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, (before + after) // 2 - system))
    return min(readings)[1]


@dataclass(frozen=True, slots=True)
class Export:
    """The requests that completed between two moments, in order of completion; ns of ``time.monotonic_ns``.

    ``starts`` are the sending times of all requests, also of those that completed outside.
    """

    started_ns: int
    ended_ns: int
    sent: Times
    first: Times
    done: Times
    status: Codes
    sequence: Times
    responses: Indices
    response_at: Times
    starts: Times

    @classmethod
    def empty(cls, started_ns: int, ended_ns: int) -> Self:
        """Nothing completed."""
        none = np.empty(0, np.int64)
        return cls(
            started_ns, ended_ns, none, none, none, none.astype(np.int16), none, none.astype(np.int32), none, none
        )

    @property
    def seconds(self) -> float:
        """The time between the two moments."""
        return (self.ended_ns - self.started_ns) / 1e9

    def count_sent(self) -> int:
        """Count the requests that were sent between the two moments."""
        return int(((self.starts > self.started_ns) & (self.starts <= self.ended_ns)).sum())


def read_export(path: Path, offset: int, *, final_marks: bool) -> Export:
    """Read the export of a run, without its first window; ``offset`` is added to its times.

    With ``final_marks`` the last response to every request carries no outputs, and only says that it is the last.
    Raises ``EngineError`` when it cannot be read, ``BrokenExport`` when it is not whole.
    """
    try:
        (experiment,) = json.loads(path.read_text(encoding="utf-8", errors="replace"))["experiments"]
        _, begin, *_, end = experiment["window_boundaries"]
        requests: list[dict[str, Any]] = [entry for entry in experiment["requests"] if entry["response_timestamps"]]
        starts = np.array([entry["timestamp"] for entry in requests], np.int64)
        done = np.array([entry["response_timestamps"][-1] for entry in requests], np.int64)
    except json.JSONDecodeError as error:
        raise BrokenExport(
            f"Perf Analyzer's profile export breaks off: {error}",
            hint="It cannot write a NaN or an infinity; does the model answer with one?",
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EngineError(f"Perf Analyzer's profile export cannot be read: {error}") from error
    inside = np.flatnonzero((done > begin) & (done <= end))
    order = inside[np.argsort(done[inside], kind="stable")]
    times = [_without_mark(requests[row]["response_timestamps"], final_marks) for row in order]
    return Export(
        started_ns=begin + offset,
        ended_ns=end + offset,
        sent=starts[order] + offset,
        first=np.array([each[0] if each else done[row] for each, row in zip(times, order, strict=True)], np.int64)
        + offset,
        done=done[order] + offset,
        status=np.full(len(order), OK, np.int16),
        sequence=np.array([requests[row].get("sequence_id", 0) for row in order], np.int64),
        responses=np.array([len(each) for each in times], np.int32),
        response_at=np.array([moment for each in times for moment in each], np.int64) + offset,
        starts=starts + offset,
    )


def _without_mark(times: list[int], final_marks: bool) -> list[int]:
    return times[:-1] if final_marks else times
