"""Windows of a load: several joined into one, one without its beginning, one of whole turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_triton.observation import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TIMES = ("scheduled", "sent", "first_response", "done", "response_at")
_COLUMNS = ("scheduled", "sent", "first_response", "done", "status", "request", "sequence", "responses")
_ALL = (*_COLUMNS, "response_at")


def merge(traces: Sequence[Trace]) -> Trace:
    """Join the windows of one load, in order, into one.

    Time between two windows, in which something else was measured, is taken out: later windows move back, so that the
    sum of the windows is the new one's length.
    """
    import numpy as np

    if not traces:
        raise ValueError("there is no trace to merge")
    moved, windows, end = list[Trace](), 0, traces[0].started_ns
    for trace in traces:
        gap = trace.started_ns - end
        windows += trace.windows - 1 + (gap > 0 or not moved)
        moved.append(_shift(trace, -gap) if gap > 0 else trace)
        end = moved[-1].ended_ns
    reasons: dict[int, str] = {}
    for trace in traces:
        reasons.update(trace.reasons)
    columns: dict[str, Any] = {}
    for name in _ALL:
        parts = [getattr(trace, name) for trace in moved]
        columns[name] = None if any(part is None for part in parts) else np.concatenate(parts)
    threads = any(trace.busiest is not None for trace in traces)
    return Trace(
        **columns,
        started_ns=moved[0].started_ns,
        ended_ns=end,
        cpu_seconds=sum(trace.cpu_seconds for trace in traces),
        concurrency=traces[0].concurrency,
        reasons=reasons,
        windows=windows,
        offered=sum(trace.offered for trace in traces),
        dispatched=sum(trace.dispatched for trace in traces),
        busiest=sum(map(_busiest, traces)) if threads else None,
    )


def _busiest(trace: Trace) -> float:
    return trace.cpu_seconds if trace.busiest is None else trace.busiest


def _shift(trace: Trace, by_ns: int) -> Trace:
    moved = {name: times + by_ns for name in _TIMES if (times := getattr(trace, name)) is not None}
    return replace(trace, **moved, started_ns=trace.started_ns + by_ns, ended_ns=trace.ended_ns + by_ns)


def align(trace: Trace, before: Trace) -> Trace:
    """Let a window begin with the last completion of the one ``before``, and end with its own last one.

    In a closed loop whole turns are counted so: in a short window, it would matter how much of one lies beyond its
    edges. The window keeps all of its requests. In open loop it stays as it is.
    """
    if not trace.concurrency or not len(trace) or not len(before):
        return trace
    start, end = int(before.done[-1]), int(trace.done[-1])
    share = (end - start) / 1e9 / trace.seconds if trace.seconds > 0 else 0.0
    return replace(
        trace,
        started_ns=start,
        ended_ns=end,
        cpu_seconds=trace.cpu_seconds * share,
        busiest=None if trace.busiest is None else trace.busiest * share,
    )


def trim(trace: Trace, after_ns: int) -> Trace:
    """Return the rest of ``trace`` once every request that was sent before ``after_ns`` had completed.

    The new window begins at the last of those completions, not at ``after_ns``: between the two some completions
    would be missing, and throughput would come out too low. What was counted over the whole window goes with its
    length: the CPU time, and the requests that became due and were sent.
    """
    early = trace.done[trace.sent < after_ns]
    start = max(trace.started_ns, min(trace.ended_ns, max(after_ns, int(early.max()) if len(early) else after_ns)))
    keep = (trace.done > start) & (trace.sent >= after_ns)
    share = (trace.ended_ns - start) / 1e9 / trace.seconds if trace.seconds > 0 else 0.0
    return replace(
        trace,
        **_take(trace, keep),
        started_ns=start,
        cpu_seconds=trace.cpu_seconds * share,
        offered=round(trace.offered * share),
        dispatched=round(trace.dispatched * share),
        busiest=None if trace.busiest is None else trace.busiest * share,
    )


def _take(trace: Trace, keep: NDArray[Any]) -> dict[str, Any]:
    """Return the columns of the requests to keep; of the responses, those of these requests."""
    import numpy as np

    taken = {name: column[keep] for name in _COLUMNS if (column := getattr(trace, name)) is not None}
    if trace.responses is not None and trace.response_at is not None:
        taken["response_at"] = trace.response_at[np.repeat(keep, trace.responses)]
    return taken
