"""When a trace is no measurement of the server: nothing was served, or the client was the bottleneck."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from pytest_triton.metrics import Better
from pytest_triton.observation import GpuUsage, Trace
from pytest_triton.quantities import Unit, show
from pytest_triton.series import send_lags
from pytest_triton.slo import SLO

_CLIENT_LIMIT = 0.90
"""Share of a core above which the load generator may itself be the bottleneck."""
_CLIENT_SECONDS = 0.1
"""A shorter window says nothing about the load generator: one burst fills it."""
_LITTLE_LIMIT = 0.05
"""By how much the requests in flight may differ from the concurrency."""
_LITTLE_REQUESTS = 100
_TURNAROUND = 50e-6
"""What a client may take, on average, from an answer to the next request, in seconds."""
_LAG_FLOOR = 1e-3
"""Send lag that no latency bound is too small for, in seconds."""
_LAG_SHARE = 0.02
"""Send lag as a share of the smallest bound of latency; what is less does not decide about it."""
_LAG_QUANTILE = 0.99
_UNSENT_LIMIT = 0.01
"""Share of the requests that became due which may be left unsent."""
_UNSENT_FEW = 3
"""So many may be due, and not sent yet, when a window ends."""
_CLIENT_IDLE = 0.5
"""Share of a core below which a late client did not lack time: others had the processors."""
_OTHERS = "it was hardly busy itself, so look for other work on this machine"
_REMEDY = "give it more worker processes (the wire engine's workers), or lower the rate"
_HELD_DOWN = 2
"""Readings of held down clocks from which on they were: a change of clocks may look like it for a moment."""
_SEQUENCES = "a sequence's requests wait for each other: have more of them under way (concurrency), or lower the rate"


def problems(trace: Trace, reasons: Counter[str]) -> Iterator[str]:
    """Say why the trace says nothing about the server; nothing when it is valid.

    ``reasons`` counts why requests failed.
    """
    if not len(trace):
        yield f"no request completed in {show(trace.seconds, Unit.SECONDS)}"
        return
    if reasons.total() == len(trace):
        reason, count = reasons.most_common(1)[0]
        yield f"none of {len(trace)} requests succeeded; {count} of them: {reason}"
        return
    yield from _busy_client(trace)
    yield from _unsent(trace) if trace.concurrency == 0 else _idle_client(trace)


def client_share(trace: Trace) -> float:
    """Return the share of a core that the busiest process of the load generator used."""
    busiest = trace.cpu_seconds if trace.busiest is None else trace.busiest
    return busiest / trace.seconds if trace.seconds > 0 else 0.0


def smallest_latency_bound(slo: SLO) -> float | None:
    """Return the smallest limit that a latency or a time to first response must not exceed, in seconds."""
    limits = (
        bound.limit
        for bound in slo.bounds
        if bound.metric.series in ("latency", "ttfr") and bound.direction is Better.LOWER
    )
    return min(limits, default=None)


def _busy_client(trace: Trace) -> Iterator[str]:
    share = client_share(trace)
    if trace.seconds >= _CLIENT_SECONDS and share > _CLIENT_LIMIT:
        what = "the load generator" if trace.busiest is None else "a process of the load generator"
        yield (
            f"{what} used {share:.0%} of a core, so it may have been slower than the server: "
            "give it more worker processes (the wire engine's workers), larger batches, or less load"
        )


def doubts(trace: Trace, *, latency_bound: float | None = None) -> Iterator[str]:
    """Say why latencies of an open loop may be longer than the server's: requests were sent late (wrk2's concern).

    ``latency_bound`` is the smallest limit, in seconds, that a latency is held against (None: there is none). Latency
    counts from when a request was due, so that a late client can only make it longer: a bound that is kept all the same
    is kept, and one that is missed is perhaps the client's to answer for.
    """
    if trace.concurrency or not len(trace):
        return
    import numpy as np

    limit = max(_LAG_FLOOR, _LAG_SHARE * (latency_bound or 0.0))
    lag = float(np.quantile(send_lags(trace), _LAG_QUANTILE, method="inverted_cdf"))
    if lag > limit:
        yield (
            f"1 % of the requests were sent {show(lag, Unit.SECONDS)} or more after they were due, and "
            f"{show(limit, Unit.SECONDS)} is allowed: the load generator did not keep the rate; {_remedy(trace)}"
        )


def cautions(gpu: GpuUsage | None) -> Iterator[str]:
    """Say why the server may be faster than it was: something held the clocks of its GPU down.

    The power limit does not count: it is a setting of the machine, and a large model works at it all the time.
    """
    if gpu is None:
        return
    for reason, share in gpu.slowdowns.items():
        if round(share * gpu.readings) >= _HELD_DOWN:
            cause = "it was too hot" if "thermal" in reason else "its power supply may not suffice"
            yield f"the GPU was throttled for {share:.0%} of the time ({reason}: {cause})"


def _remedy(trace: Trace) -> str:
    if trace.sequence is not None:
        return _SEQUENCES
    return _REMEDY if client_share(trace) > _CLIENT_IDLE else _OTHERS


def _unsent(trace: Trace) -> Iterator[str]:
    """In open loop: requests that became due and were not sent (LoadGen's concern)."""
    unsent = trace.offered - trace.dispatched
    if unsent > max(_UNSENT_FEW, _UNSENT_LIMIT * trace.offered):
        yield (
            f"only {trace.dispatched:,} of the {trace.offered:,} requests that became due were sent "
            f"({trace.dispatched / trace.offered:.1%}): the load was not the one asked for; {_remedy(trace)}"
        )


def _idle_client(trace: Trace) -> Iterator[str]:
    """In closed loop: more or fewer requests in flight than the load asks for.

    Between an answer and the next request any client has something to do. Of a model that answers within a fraction of
    a millisecond that is more than the share which is allowed, and still no client could do much better.
    """
    if len(trace) < max(_LITTLE_REQUESTS, 10 * trace.concurrency):
        return
    flying, doubt = _in_flight(trace) if trace.windows == 1 else _in_flight_by_little(trace)
    turnaround = (trace.concurrency - flying) * trace.seconds / len(trace)
    if 0 <= turnaround <= _TURNAROUND:
        return
    if abs(flying / trace.concurrency - 1) > _LITTLE_LIMIT + doubt:
        yield (
            f"{flying:.2f} requests were in flight on average, not {trace.concurrency} (Little's law): "
            "the load was not the one asked for"
        )


def _in_flight(trace: Trace) -> tuple[float, float]:
    """Return the mean number of requests in flight, and 0: the count is exact, however short the window.

    Throughput x mean latency (Little, Operations Research 9, 1961) is the same but for the requests at the window's
    ends. Those that are still out at its end are not in the trace; each is one less in flight from its start on.
    So a shortfall that never shrinks again is theirs, and only what exceeds its later minimum is the client's.
    """
    import numpy as np

    # A completion before a start at the same moment, or there would be one too many for no time at all.
    moments = np.concatenate((trace.done, np.maximum(trace.sent, trace.started_ns), [trace.ended_ns]))
    steps = np.concatenate((np.full(len(trace), -1), np.full(len(trace), 1), [0]))
    order = np.argsort(moments, kind="stable")
    flying = np.cumsum(steps[order])[:-1]
    lengths = np.diff(moments[order])
    short = np.maximum(trace.concurrency - flying, 0)
    out = np.minimum.accumulate(short[::-1])[::-1]
    return float(((flying + out) * lengths).sum() / max(lengths.sum(), 1)), 0.0


def _in_flight_by_little(trace: Trace) -> tuple[float, float]:
    """Return throughput x mean latency, and by which share of the concurrency the ends of joined windows may falsify.

    At an end, each of c requests is cut at an age of mean square E[L^3] / 3 E[L] (renewal theory); of the 2 c ends
    of each window, three standard errors are allowed. Windows hardly longer than a request say nothing.
    """
    taken = (trace.done - trace.sent) / 1e9
    if taken.max() > trace.seconds / trace.windows / 4:
        return float(trace.concurrency), math.inf
    whole = trace.concurrency * trace.seconds
    ends = 2 * trace.concurrency * trace.windows
    error = 3 * math.sqrt(ends * float((taken**3).mean() / (3 * taken.mean()))) / whole
    return float(taken.sum()) / trace.seconds, error
