"""How long single probes take."""

from __future__ import annotations

from dataclasses import replace

from pytest_triton.case import Load
from pytest_triton.search.strategies.base import Effort
from pytest_triton.slo import SLO

UNLOADED = Effort(seconds=0.25, requests=12, limit=1.5, warmup=0.1)
"""One request in flight: is its latency anywhere near what is wanted?"""
SHORT = Effort(seconds=0.4, requests=24, limit=3.0, warmup=0.15)
"""Enough for an interval of the throughput."""
LONG = Effort(seconds=1.0, requests=48, limit=5.0, warmup=0.2)
"""Enough to tell a leader from the rest; who wins is measured anew."""
_OPEN = replace(SHORT, seconds=0.8, requests=64)
"""Near saturation it takes a while until requests pile up."""
_MOST_REQUESTS = 400


def effort_at(load: Load) -> Effort:
    """Return how long to look for a load: the more requests are in flight, the more have to come back."""
    if load.open_loop:
        return _OPEN
    if load.concurrency == 1:
        return UNLOADED
    concurrency = load.concurrency if isinstance(load.concurrency, int) else 1
    return replace(SHORT, requests=max(SHORT.requests, 2 * concurrency))


def long_for(slo: SLO) -> Effort:
    """Return the effort that tells whether bounds on percentiles are kept, as far as that is possible in short."""
    beyond = min((1 - bound.metric.quantile for bound in slo.bounds if bound.metric.quantile is not None), default=1.0)
    return replace(LONG, requests=max(LONG.requests, min(round(2 / beyond), _MOST_REQUESTS)))
