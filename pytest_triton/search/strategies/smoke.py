"""One short load for every candidate: does everything work?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_triton.search.strategies.base import Effort, Keep, Probe, Step, Trial

_EFFORT = Effort(seconds=0.2, requests=1, limit=2.0, warmup=0.0)
_RATE = 10.0


@dataclass(frozen=True, slots=True)
class Smoke:
    """Send a little load to every candidate, and say nothing of its speed."""

    name: str = "smoke"

    def step(self, trial: Trial) -> Step:
        """Probe once: with one request in flight, or a few each second, where the load is to be looked for."""
        if trial.probes:
            return Keep()
        load = trial.case.load
        if load.rate == "auto":
            return Probe(replace(load, rate=_RATE), _EFFORT)
        return Probe(replace(load, concurrency=1) if load.concurrency == "auto" else load, _EFFORT)
