"""What one probe of a candidate showed, in memory and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_triton.case import Load, Phases
from pytest_triton.metrics import Better, Estimate, in_order, is_metric
from pytest_triton.quantities import Unit, show
from pytest_triton.slo import SLO, Bound

_TOLD = ("throughput", "p50", "p99", "mean", "error_rate", "batch", "offered_rate", "rss", "gpu_memory")
"""Metrics of every probe that are kept, beside those that the search is about."""
_LATENCIES = ("latency", "ttfr")


@dataclass(frozen=True, slots=True)
class Probed:
    """One load at which a candidate was measured, and what came of it.

    ``verdict`` is what its SLO says of it: PASS, FAIL, INCONCLUSIVE or ERROR. ``requests`` is how many were seen.
    """

    load: Load
    metrics: Mapping[str, Estimate]
    verdict: str
    reason: str = ""
    requests: int = 0

    @property
    def valid(self) -> bool:
        """Whether it says anything about the server."""
        return self.verdict != "ERROR"

    @property
    def throughput(self) -> float:
        """Inferences per second; 0 where there were none."""
        return self.metrics["throughput"].value if "throughput" in self.metrics else 0.0

    def missed(self, slo: SLO, *, delay: float = 0.0, room: float = 0.0) -> Bound | None:
        """Return the first bound that more load breaks and that its values miss; None where there is none.

        Those are the upper bounds, and on models beside the lower ones, too. Latencies must be beyond theirs by more
        than ``delay`` seconds. ``room`` is the fraction of a limit on latency that must be left.
        """
        known = (bound for bound in _breakable(slo) if _known(self, bound))
        return next((bound for bound in known if _is_beyond(bound, self._value(bound), delay, room)), None)

    def surely_missed(self, slo: SLO, *, delay: float = 0.0) -> Bound | None:
        """Return the first of these bounds that the whole of an interval misses; None where there is none."""
        known = (bound for bound in _breakable(slo) if _known(self, bound))
        return next((bound for bound in known if _is_beyond(bound, self._at_best(bound), delay)), None)

    def reaches(self, slo: SLO) -> bool:
        """Tell whether its values reach every bound that takes load, such as one on throughput."""
        broken = _breakable(slo)
        others = (bound for bound in slo.bounds if bound not in broken)
        return all(self._value(bound) >= bound.limit for bound in others if _known(self, bound))

    def show_miss(self, bound: Bound) -> str:
        """Say by which value ``bound`` is missed, and at which load."""
        return f"{bound}: {show(self._value(bound), bound.metric.unit)} at {show_load(self.load)}"

    def _value(self, bound: Bound) -> float:
        return self.metrics[bound.metric.name].value

    def _at_best(self, bound: Bound) -> float:
        """Return the end of a metric's interval that is the nearer one to keeping a bound."""
        estimate = self.metrics[bound.metric.name]
        end, unknown = (estimate.low, -math.inf) if bound.direction is Better.LOWER else (estimate.high, math.inf)
        if not math.isfinite(estimate.value) or (bound.metric.quantile is None and end is None):
            return estimate.value
        return unknown if end is None else end

    def as_dict(self, metrics: Sequence[str] = ()) -> dict[str, Any]:
        """Return it as JSON has it, with the usual metrics and those named here."""
        kept = [name for name in in_order(self.metrics) if name in _TOLD or name in metrics]
        return {
            "load": self.load.as_dict(),
            "metrics": {name: _write(self.metrics[name]) for name in kept},
            "verdict": self.verdict,
            "reason": self.reason,
            "requests": self.requests,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], load: Load) -> Probed:
        """Read ``as_dict`` back; ``load`` is the candidate's own, whose concurrency and rate are taken from here."""
        metrics = {name: _read(each) for name, each in values["metrics"].items() if is_metric(name)}
        return cls(
            at(load, values["load"]), metrics, values["verdict"], values.get("reason", ""), values.get("requests", 0)
        )


def at(load: Load, found: Mapping[str, Any]) -> Load:
    """Return ``load`` with the concurrency and the rate of ``found``, which is a load as JSON has it."""
    rate = found.get("rate")
    # Only numbers are looked for; phases are as they were declared.
    kept = load.rate if isinstance(load.rate, Phases) else rate
    return replace(load, concurrency=found["concurrency"], rate=kept)


def show_load(load: Load) -> str:
    """Write a load as tables do: ``c8``, or ``400/s`` in open loop."""
    if isinstance(load.rate, int | float):
        return show(load.rate, Unit.PER_SECOND)
    return f"c{load.concurrency}"


def bounds_latency(slo: SLO) -> bool:
    """Tell whether the SLO bounds latencies from above, or what a model beside does."""
    return any(_is_latency(bound) or bound.metric.model for bound in _breakable(slo))


def _is_latency(bound: Bound) -> bool:
    return bound.metric.series in _LATENCIES or bound.metric.plain in ("mean", "max")


def _breakable(slo: SLO) -> list[Bound]:
    """Return the bounds that are missed when there is too much load. A model beside has less throughput then."""

    def is_broken(bound: Bound) -> bool:
        return bound.direction is Better.LOWER or (bool(bound.metric.model) and bound.direction is bound.metric.better)

    return [bound for bound in slo.bounds if is_broken(bound)]


def _is_beyond(bound: Bound, value: float, delay: float, room: float = 0.0) -> bool:
    if bound.direction is Better.HIGHER:
        return value < bound.limit
    if not _is_latency(bound):
        return value > bound.limit
    # What holds back the measured model's requests to fill a batch holds back no others.
    return value > (bound.limit + (delay if not bound.metric.model else 0.0)) * (1 - room)


def _known(probed: Probed, bound: Bound) -> bool:
    return bound.metric.name in probed.metrics


def _write(estimate: Estimate) -> dict[str, float | None]:
    value = estimate.value if math.isfinite(estimate.value) else None
    return {"value": value, "low": estimate.low, "high": estimate.high}


def _read(values: Mapping[str, Any]) -> Estimate:
    return Estimate(math.inf if values["value"] is None else values["value"], values.get("low"), values.get("high"))
