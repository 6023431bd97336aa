"""Whether a comparison shows that something got worse."""

import pytest

from pytest_triton.compare import judge_change
from pytest_triton.metrics import METRICS, Estimate
from pytest_triton.verdict import Outcome

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


# A gain of latency is a fraction less of it: -0.10 is 10 % slower.
@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.01, 0.01, PASS),
        (-0.05, 0.05, PASS),
        (0.20, 0.30, PASS),
        (-0.04, -0.02, PASS),  # Worse for sure, and by less than is allowed.
        (-0.06, 0.01, INCONCLUSIVE),
        (-0.06, -0.01, INCONCLUSIVE),  # No more than a configuration may differ from itself.
        (-0.06, -0.02, FAIL),
        (-0.30, -0.20, FAIL),
        (-0.30, 0.30, INCONCLUSIVE),
        (None, None, INCONCLUSIVE),
    ],
)
def test_latency_may_rise_by_what_is_allowed(low: float | None, high: float | None, outcome: Outcome) -> None:
    assert judge_change(Estimate(0.0, low, high), METRICS["p95"]) is outcome


# A throughput that falls by 1/21 makes everything take 5 % longer.
@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-0.04, 0.01, PASS), (-0.047, 0.0, PASS), (-0.05, 0.0, INCONCLUSIVE), (-0.06, -0.02, FAIL), (0.1, 0.2, PASS)],
)
def test_throughput_may_fall_by_what_is_allowed(low: float, high: float, outcome: Outcome) -> None:
    assert judge_change(Estimate(0.0, low, high), METRICS["throughput"]) is outcome


def test_tolerance_and_floor_are_the_gate_s_to_say() -> None:
    gain = Estimate(-0.08, -0.10, -0.06)
    assert judge_change(gain, METRICS["p95"]) is FAIL
    assert judge_change(gain, METRICS["p95"], tolerance=0.10) is PASS
    assert judge_change(gain, METRICS["p95"], tolerance=0.09, floor=0.07) is INCONCLUSIVE
