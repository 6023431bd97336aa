"""The verdict on a measurement: PASS, FAIL, INCONCLUSIVE, or ERROR. Formulas and sources in ``statistics``."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Better, Estimate
from pytest_triton.observation import OK, Trace
from pytest_triton.quantities import show, show_interval
from pytest_triton.series import SERIES, latencies
from pytest_triton.slo import SLO, Bound

if TYPE_CHECKING:
    from pytest_triton.statistics import Spread

ALPHA = 0.05
"""How often a PASS may be wrong, over all looks at one measurement."""
ALPHA_FAIL = 0.01
"""How often a FAIL may be wrong, over all looks at one measurement."""
LOOKS = 4
"""Planned looks, at n, 2n, 4n and 8n requests; each spends its share of the errors that are allowed."""
_FIRST_LOOK = 30
"""Requests before a bound on throughput or the mean is judged: ten slices of three."""
_FEWEST_BATCHES = 5
_FAR = 10.0
"""How many times the requests that are left it must take to decide, by what was seen so far, to be out of reach. In
simulations of queues with bounds on p95 and p99, 0.4 % of the measurements that ended so would have been decided.
"""
_OF_POWER = frozenset({"gpu_power", "energy_per_inference"})
_WHATEVER_THE_CLOCKS = frozenset({"rss", "gpu_memory", "error_rate", "gpu_clock", "gpu_throttled"})
"""Metrics of which a miss is one, whether the GPU was throttled or not."""


class Outcome(enum.Enum):
    """What a measurement says about an SLO. ERROR: it says nothing, because it is not valid."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


_GRAVEST_FIRST = (Outcome.ERROR, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)


@dataclass(frozen=True, slots=True)
class Check:
    """One bound, held against the measurement.

    ``margin`` is the room left, as a fraction of the limit; negative where it is missed, None where it has no finite
    one. ``effective`` is the number of independent requests that the sample is worth, where that matters. ``needs``
    is how many more requests would probably decide, None where nothing is left to decide or that is out of reach.
    """

    bound: Bound
    outcome: Outcome
    reason: str
    estimate: Estimate | None = None
    effective: int | None = None
    needs: int | None = None

    @property
    def margin(self) -> float | None:
        """The room between estimate and limit, as a fraction of the limit."""
        limit = self.bound.limit
        if self.estimate is None or not limit or not math.isfinite(self.estimate.value):
            return None
        room = limit - self.estimate.value
        return (room if self.bound.direction is Better.LOWER else -room) / limit

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it, values in the metric's inner unit."""
        value, low, high = (
            (self.estimate.value, self.estimate.low, self.estimate.high) if self.estimate else (None,) * 3
        )
        return {
            "metric": self.bound.metric.name,
            "bound": str(self.bound),
            "direction": self.bound.direction.value,
            "limit": self.bound.limit,
            "value": value if value is not None and math.isfinite(value) else None,
            "low": low,
            "high": high,
            "outcome": self.outcome.value,
            "margin": self.margin,
            "effective": self.effective,
            "needs": self.needs,
            "reason": self.reason,
            "source": self.bound.source,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, the sentence that says why, and every bound's row in the order of the SLO."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON has it."""
        checks = [check.as_dict() for check in self.checks]
        return {"outcome": self.outcome.value, "reason": self.reason, "checks": checks}


def judge(measurement: Measurement, slo: SLO, *, looks: int = LOOKS) -> Verdict:
    """Hold ``measurement`` against ``slo``. One of ``looks`` looks: each spends its share of alpha.

    ERROR when it is not valid or lacks a bounded metric; else FAIL when a bound is shown to be missed; else
    INCONCLUSIVE when one is neither shown to be missed nor to be kept; else PASS. When latency never settled, neither
    PASS nor FAIL is said; nor when a GPU was throttled, of what it may have been missed for.
    """
    if measurement.problems:
        return Verdict(Outcome.ERROR, "; ".join(measurement.problems))
    checks = tuple(_take_back(_check(measurement, bound, looks), measurement) for bound in slo.bounds)
    outcome = next((o for o in _GRAVEST_FIRST if any(c.outcome is o for c in checks)), Outcome.PASS)
    if measurement.unsteady and outcome is not Outcome.ERROR:
        return Verdict(
            Outcome.INCONCLUSIVE,
            f"latency did not settle within {measurement.warmup_seconds:.1f} s of warm-up",
            checks,
        )
    reasons = [check.reason for check in checks if check.outcome is outcome]
    told = (*(reasons or ["the measurement is valid; no bounds are set"]), *measurement.cautions)
    return Verdict(outcome, "; ".join(told), checks)


def _take_back(check: Check, measurement: Measurement) -> Check:
    return _caution(_doubt(check, measurement), measurement.cautions)


def _caution(check: Check, cautions: tuple[str, ...]) -> Check:
    """Take back what a throttled GPU may answer for: any miss of speed, and how much power it took."""
    name, missed = check.bound.metric.plain, check.outcome is Outcome.FAIL
    of_power = name in _OF_POWER and check.outcome is Outcome.PASS
    if not cautions or not (of_power or (missed and name not in _WHATEVER_THE_CLOCKS)):
        return check
    return replace(check, outcome=Outcome.INCONCLUSIVE, reason=f"{check.reason}, but on a throttled GPU")


def _doubt(check: Check, measurement: Measurement) -> Check:
    """Take a miss back that may be the client's: late requests make latencies longer, never shorter."""
    metric = check.bound.metric
    of = measurement.beside.get(metric.model) if metric.model else measurement
    doubts = of.doubts if of is not None else ()
    of_latency = metric.series in ("latency", "ttfr") or metric.plain in ("mean", "max")
    if not doubts or not of_latency or check.outcome is not Outcome.FAIL or check.bound.direction is not Better.LOWER:
        return check
    return replace(check, outcome=Outcome.ERROR, reason=f"{check.reason}, but {'; '.join(doubts)}")


def is_out_of_reach(measurement: Measurement, slo: SLO, limit: float) -> bool:
    """Tell whether what is open will stay so until ``limit`` seconds of load, by all that was seen so far.

    One bound that stays open is enough, if no other one is about to be missed.
    """

    def stays(check: Check) -> bool:
        metric = check.bound.metric
        of = measurement.beside.get(metric.model, measurement)
        if check.needs is None:
            # Too close to decide; elsewhere it is not known what it takes.
            return of.trace is not None and metric.plain != "error_rate"
        return check.needs > _FAR * of.requests * (limit / measurement.seconds - 1)

    undecided = [check for check in judge(measurement, slo).checks if check.outcome is Outcome.INCONCLUSIVE]
    near = [check for check in undecided if not stays(check)]
    return len(near) < len(undecided) and all((check.margin or -1.0) >= 0 for check in near)


def requests_for_first_look(slo: SLO, *, looks: int = LOOKS) -> int:
    """Return how many requests the first look should see: fewer could not show that every bound is kept."""
    return max((_first_look(bound, looks) for bound in slo.bounds), default=0)


def _first_look(bound: Bound, looks: int) -> int:
    metric, limit = bound.metric, bound.limit
    if metric.quantile is None and metric.plain != "error_rate":
        return _FIRST_LOOK if metric.plain in ("throughput", "mean", "response_throughput") else 1
    from pytest_triton.clustering import first_look_factor
    from pytest_triton.exceedance import minimum_effective

    if metric.quantile is not None:
        return math.ceil(minimum_effective(metric.quantile, ALPHA / looks) * first_look_factor())
    return minimum_effective(1 - limit, ALPHA / looks) if 0 < limit < 1 else 1


def _check(measurement: Measurement, bound: Bound, looks: int) -> Check:
    name = bound.metric.plain
    estimate = measurement.metrics.get(bound.metric.name)
    if estimate is None:
        needs = f"; it takes {bound.metric.needs.value}" if bound.metric.needs is not None else ""
        told = f"{bound.metric.name} is bounded, but this server and load do not give it{needs}"
        return Check(bound, Outcome.ERROR, told)
    of = measurement if not bound.metric.model else measurement.beside.get(bound.metric.model)
    trace = of.trace if of is not None else None
    if name == "max":
        return _compare(bound, estimate)
    test = "quantile" if bound.metric.quantile is not None else name
    judges: dict[str, Callable[[Bound, Estimate, Measurement, Trace, int], Check]] = {
        "quantile": _check_quantile,
        "error_rate": _check_error_rate,
        "mean": _check_mean,
        "throughput": _check_throughput,
        "response_throughput": _check_throughput,
    }
    if test not in judges:
        return _compare(bound, estimate)
    if of is None or trace is None or not len(trace):
        return _check_by_interval(bound, estimate)
    return judges[test](bound, estimate, of, trace, looks)


def _compare(bound: Bound, estimate: Estimate) -> Check:
    """Take the value as it is: the metric has no sampling error that could be known."""
    return _conclude(bound, estimate, _keeps(bound, estimate.value))


def _check_by_interval(bound: Bound, estimate: Estimate) -> Check:
    """Judge by the interval alone, where single requests were not recorded."""
    low = -math.inf if estimate.low is None else estimate.low
    high = math.inf if estimate.high is None else estimate.high
    ends = {_keeps(bound, low), _keeps(bound, high)}
    return _conclude(bound, estimate, ends.pop() if len(ends) == 1 else None)


def _check_quantile(bound: Bound, estimate: Estimate, measurement: Measurement, trace: Trace, looks: int) -> Check:
    from pytest_triton.exceedance import latency_test, requests_for_verdict

    p = bound.metric.quantile
    assert p is not None
    # For a bound from below, what is shown to be at most the limit is what is shown to be missed.
    alpha, alpha_fail = (ALPHA, ALPHA_FAIL) if bound.direction is Better.LOWER else (ALPHA_FAIL, ALPHA)
    alpha, alpha_fail = alpha / looks, alpha_fail / looks
    values = SERIES[bound.metric.series](trace)
    test = latency_test(values, bound.limit, p, alpha=alpha, alpha_fail=alpha_fail)
    kept = test.kept if bound.direction is Better.LOWER or test.kept is None else not test.kept
    needs = requests_for_verdict(test, p, alpha=alpha, alpha_fail=alpha_fail) if kept is None else None
    if needs and len(values) != len(trace):
        # A request has several gaps between its responses, or none: the need is told in requests all the same.
        needs = math.ceil(needs * len(trace) / max(len(values), 1))
    return replace(_conclude(bound, estimate, kept, needs), effective=test.effective)


def _check_error_rate(bound: Bound, estimate: Estimate, measurement: Measurement, trace: Trace, looks: int) -> Check:
    from pytest_triton.clustering import effective, inflation
    from pytest_triton.exceedance import minimum_effective
    from pytest_triton.statistics import proportion_bounds

    failed, size, limit = measurement.failures, measurement.requests, bound.limit
    if limit == 0:
        # No sample shows that errors never happen; what can be asked is that none did.
        return _conclude(bound, estimate, bound.direction is Better.HIGHER or failed == 0)
    factor = inflation(trace.status != OK)
    (low_pass, high_pass), (low_fail, high_fail) = (
        proportion_bounds(failed, size, alpha / looks, factor) for alpha in (ALPHA, ALPHA_FAIL)
    )
    if bound.direction is Better.LOWER:
        kept = True if high_pass <= limit else False if low_fail > limit else None
    else:
        kept = True if low_pass >= limit else False if high_fail < limit else None
    needs = None
    if kept is None and failed == 0 and limit < 1:
        needs = max(1, minimum_effective(1 - limit, ALPHA / looks) - size)
    return replace(_conclude(bound, estimate, kept, needs), effective=effective(size, factor))


def _check_mean(bound: Bound, estimate: Estimate, measurement: Measurement, trace: Trace, looks: int) -> Check:
    from pytest_triton.statistics import spread_of_mean

    if measurement.failures and bound.direction is Better.LOWER:
        reason = f"{bound}: missed, {measurement.failures} of {measurement.requests} requests failed"
        return Check(bound, Outcome.FAIL, f"{reason}, and a failed request exceeds every bound of latency", estimate)
    slow = latencies(trace)
    return _check_spread(bound, estimate, spread_of_mean(slow[trace.status == OK]), measurement.requests, looks)


def _check_throughput(bound: Bound, estimate: Estimate, measurement: Measurement, trace: Trace, looks: int) -> Check:
    from pytest_triton.statistics import spread_of_throughput

    good = trace.status == OK
    done = (trace.done[good] - trace.started_ns) / 1e9
    if bound.metric.plain == "response_throughput" and trace.responses is not None:
        spread = spread_of_throughput(done, 0.0, trace.seconds, trace.responses[good].astype(float))
    else:
        # The batch size is what lies between requests and inferences; the estimate knows it.
        inferences = estimate.value * trace.seconds / len(done) if len(done) else 1.0
        spread = spread_of_throughput(done, 0.0, trace.seconds, inferences)
    return _check_spread(bound, estimate, spread, measurement.requests, looks)


def _check_spread(bound: Bound, estimate: Estimate, spread: Spread, requests: int, looks: int) -> Check:
    """Judge a mean by its one-sided bounds: PASS needs all of 1 - alpha, FAIL of 1 - alpha_fail, on its own side."""
    room = spread.mean - bound.limit if bound.direction is Better.HIGHER else bound.limit - spread.mean
    if spread.batches < _FEWEST_BATCHES:
        return _conclude(bound, estimate, None, max(1, _FIRST_LOOK - requests))
    off_pass, off_fail = spread.bound(ALPHA / looks) or 0.0, spread.bound(ALPHA_FAIL / looks) or 0.0
    kept = True if room >= off_pass else False if -room > off_fail else None
    needs = None
    if kept is None and room:
        # The standard error falls with the square root of the sample.
        times = ((off_pass if room > 0 else off_fail) / room) ** 2
        needs = max(1, math.ceil(requests * (times - 1))) if times < 1e6 else None
    return _conclude(bound, estimate, kept, needs)


def _keeps(bound: Bound, value: float) -> bool:
    return value <= bound.limit if bound.direction is Better.LOWER else value >= bound.limit


def _conclude(bound: Bound, estimate: Estimate, kept: bool | None, needs: int | None = None) -> Check:
    unit = bound.metric.unit
    outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[kept]
    word = {True: "kept", False: "missed", None: "undecided"}[kept]
    interval = ""
    if estimate.low is not None or estimate.high is not None:
        interval = f" ({show_interval(estimate.low, estimate.high, unit)})"
    reason = f"{bound}: {word} with {show(estimate.value, unit)}{interval}"
    if kept is None:
        reason += f", about {needs:,} more requests would decide" if needs else ", too close to the limit to decide"
    return Check(bound, outcome, reason, estimate, needs=needs)
