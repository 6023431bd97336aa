"""What a trace says of single requests: the series that percentiles are taken of. All in seconds.

NumPy is imported where it computes, because collection imports the words that stand above this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_triton.observation import OK, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_triton.clustering import Floats
    from pytest_triton.metrics import Metric


def latencies(trace: Trace) -> Floats:
    """Return the latency of every request in seconds, from its scheduled time, in order of completion.

    A failed request is infinitely slow, so that it exceeds every bound.
    """
    import numpy as np

    return np.where(trace.status == OK, (trace.done - trace.scheduled) / 1e9, np.inf)


def first_responses(trace: Trace) -> Floats:
    """Return the time to first response of every request of a stream, from its scheduled time.

    A failed request is infinite. One that succeeded without any response has none and is left out. Empty when the
    trace is not of a stream.
    """
    import numpy as np

    if trace.responses is None:
        return np.empty(0)
    times = np.where(trace.status == OK, (trace.first_response - trace.scheduled) / 1e9, np.inf)
    known: Floats = times[(trace.status != OK) | (trace.responses > 0)]
    return known


def inter_responses(trace: Trace) -> Floats:
    """Return the times between one response and the next of the same request, request after request.

    After the last response of a request that failed, the next one never came: that gap is infinite. Requests with
    fewer than two responses otherwise have no gap. Empty when the trace is not of a stream.
    """
    import numpy as np

    if trace.responses is None or trace.response_at is None or not len(trace.response_at):
        return np.empty(0)
    counts = trace.responses.astype(np.int64)
    last = np.zeros(len(trace.response_at), dtype=bool)
    last[np.cumsum(counts)[counts > 0] - 1] = True
    gaps = np.append(np.diff(trace.response_at) / 1e9, np.inf)
    broken = np.repeat(trace.status != OK, counts)
    shown: Floats = np.where(last, np.inf, gaps)[~last | broken]
    return shown


def send_lags(trace: Trace) -> Floats:
    """Return how much later than it was due each request of an open loop was sent. Empty in closed loop."""
    import numpy as np

    return (trace.sent - trace.scheduled) / 1e9 if trace.concurrency == 0 else np.empty(0)


def so_far(metric: Metric, traces: Sequence[Trace]) -> float | None:
    """Return a quantile, the mean, the maximum or the error rate while the load goes on; None for other metrics.

    A value without an interval, for who watches: of many requests it goes by the last ``_WATCHED``, so that watching
    takes next to nothing from the server.
    """
    import numpy as np

    parts, held = list[Any](), 0
    for trace in reversed(traces):
        if held >= _WATCHED:
            break
        parts.append(trace.status != OK if metric.name == "error_rate" else _values(metric, trace))
        held += len(trace)
    values = np.concatenate(parts) if parts else np.empty(0)
    if not len(values):
        return None
    if metric.quantile is not None:
        return float(np.quantile(values, metric.quantile, method="inverted_cdf"))
    return float(values.max() if metric.name == "max" else values.mean())


_WATCHED = 100_000


def _values(metric: Metric, trace: Trace) -> Floats:
    import numpy as np

    return SERIES[metric.series](trace) if metric.series else np.empty(0)


SERIES: dict[str, Callable[[Trace], Floats]] = {
    "latency": latencies,
    "ttfr": first_responses,
    "inter_response": inter_responses,
    "send_lag": send_lags,
}
"""The series by the names that the table of metrics calls them by."""
