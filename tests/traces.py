"""Traces made by hand, of streams and of open loops; times in milliseconds."""

from collections.abc import Sequence

import numpy as np

from pytest_triton.observation import Trace

MS = 1_000_000


def stream(
    requests: Sequence[tuple[float, Sequence[float]]], *, failed: Sequence[int] = (), window: tuple[float, float]
) -> Trace:
    """Make the trace of a stream: of each request when it was sent, and when its responses came."""
    sent = _ns([sent for sent, _ in requests])
    done = _ns([at[-1] if at else sent for sent, at in requests])
    status = np.zeros(len(requests), dtype=np.int16)
    status[list(failed)] = 13
    return Trace(
        scheduled=sent,
        sent=sent,
        first_response=_ns([at[0] if at else sent for sent, at in requests]),
        done=done,
        status=status,
        started_ns=round(window[0] * MS),
        ended_ns=round(window[1] * MS),
        cpu_seconds=0.0,
        concurrency=1,
        reasons={13: "INTERNAL"} if failed else {},
        responses=np.array([len(at) for _, at in requests], dtype=np.int32),
        response_at=_ns([moment for _, at in requests for moment in at]),
    )


def open_loop(
    lags: Sequence[float], *, every: float = 10.0, took: float = 5.0, unsent: int = 0, busiest: float | None = None
) -> Trace:
    """Make the trace of an open loop: a request is due every so often, and is sent that much later."""
    scheduled = _ns([every * number for number in range(len(lags))])
    sent = scheduled + _ns(lags)
    done = sent + round(took * MS)
    return Trace(
        scheduled=scheduled,
        sent=sent,
        first_response=done,
        done=done,
        status=np.zeros(len(lags), dtype=np.int16),
        started_ns=0,
        ended_ns=round(every * len(lags) * MS),
        cpu_seconds=0.0 if busiest is None else 2 * busiest,
        concurrency=0,
        offered=len(lags) + unsent,
        dispatched=len(lags),
        busiest=busiest,
    )


def _ns(milliseconds: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([round(each * MS) for each in milliseconds], dtype=np.int64)
