"""What one probe of a candidate showed, in memory and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_triton.case import Load, Phases
from pytest_triton.metrics import METRICS, Better, Estimate
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
        """Return the first upper bound that its values exceed, latencies by more than ``delay`` seconds; else None.

        ``room`` is the fraction of a limit on latency that must be left.
        """
        for bound in _upper(slo):
            limit = _limit(bound, delay)
            if self._value(bound) > (limit * (1 - room) if _is_latency(bound) else limit):
                return bound
        return None

    def surely_missed(self, slo: SLO, *, delay: float = 0.0) -> Bound | None:
        """Return the first upper bound that the whole of an interval exceeds; None where there is none."""
        return next((bound for bound in _upper(slo) if self._low(bound) > _limit(bound, delay)), None)

    def reaches(self, slo: SLO) -> bool:
        """Tell whether its values reach every lower bound, such as one on throughput."""
        lower = (bound for bound in slo.bounds if bound.direction is Better.HIGHER)
        return all(self.metrics[bound.metric.name].value >= bound.limit for bound in lower if _known(self, bound))

    def show_miss(self, bound: Bound) -> str:
        """Say by which value ``bound`` is missed, and at which load."""
        return f"{bound}: {show(self._value(bound), bound.metric.unit)} at {show_load(self.load)}"

    def _value(self, bound: Bound) -> float:
        return self.metrics[bound.metric.name].value if _known(self, bound) else -math.inf

    def _low(self, bound: Bound) -> float:
        if not _known(self, bound):
            return -math.inf
        estimate = self.metrics[bound.metric.name]
        if not math.isfinite(estimate.value):
            return math.inf
        if bound.metric.quantile is None and estimate.low is None:
            return estimate.value
        return -math.inf if estimate.low is None else estimate.low

    def as_dict(self, metrics: Sequence[str] = ()) -> dict[str, Any]:
        """Return it as JSON has it, with the usual metrics and those named here."""
        kept = [name for name in METRICS if name in self.metrics and (name in _TOLD or name in metrics)]
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
        metrics = {name: _read(each) for name, each in values["metrics"].items() if name in METRICS}
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
    """Tell whether an upper bound of the SLO is one on latencies."""
    return any(_is_latency(bound) for bound in _upper(slo))


def _is_latency(bound: Bound) -> bool:
    return bound.metric.series in _LATENCIES or bound.metric.name in ("mean", "max")


def _upper(slo: SLO) -> list[Bound]:
    return [bound for bound in slo.bounds if bound.direction is Better.LOWER]


def _limit(bound: Bound, delay: float) -> float:
    return bound.limit + (delay if _is_latency(bound) else 0.0)


def _known(probed: Probed, bound: Bound) -> bool:
    return bound.metric.name in probed.metrics


def _write(estimate: Estimate) -> dict[str, float | None]:
    value = estimate.value if math.isfinite(estimate.value) else None
    return {"value": value, "low": estimate.low, "high": estimate.high}


def _read(values: Mapping[str, Any]) -> Estimate:
    return Estimate(math.inf if values["value"] is None else values["value"], values.get("low"), values.get("high"))
