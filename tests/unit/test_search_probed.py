"""What a probe says of bounds: which of them more load breaks, and which it takes load to reach."""

import pytest

from pytest_triton.case import Load
from pytest_triton.metrics import Estimate
from pytest_triton.search.probed import Probed, bounds_latency
from pytest_triton.slo import SLO

PROBED = Probed(
    Load(8),
    {
        "throughput": Estimate(400.0, 380.0, 420.0),
        "p99": Estimate(0.030, 0.024, 0.040),
        "other:throughput": Estimate(40.0, 36.0, 44.0),
        "other:p99": Estimate(0.030, 0.026, 0.040),
    },
    "INCONCLUSIVE",
)


@pytest.mark.parametrize(
    ("limits", "missed", "surely", "reaches"),
    [
        ({"p99": "25ms"}, True, False, True),
        ({"p99": "20ms"}, True, True, True),
        ({"throughput": "500/s"}, False, False, False),
        ({"other:p99": "25ms"}, True, True, True),
        # A model beside gets less when the measured one takes more: more load reaches no such bound.
        ({"other:throughput": "42/s"}, True, False, True),
        ({"other:throughput": "50/s"}, True, True, True),
        ({"other:throughput": "30/s"}, False, False, True),
        ({"third:p99": "1ms"}, False, False, True),
    ],
)
def test_a_bound_is_missed_by_value_and_surely(
    limits: dict[str, object], missed: bool, surely: bool, reaches: bool
) -> None:
    slo = SLO.parse(limits)
    assert (PROBED.missed(slo) is not None) is missed
    assert (PROBED.surely_missed(slo) is not None) is surely
    assert PROBED.reaches(slo) is reaches


def test_a_batcher_that_waits_holds_no_other_model_back() -> None:
    assert PROBED.missed(SLO.parse({"p99": "25ms"}), delay=0.01) is None
    assert PROBED.missed(SLO.parse({"other:p99": "25ms"}), delay=0.01) is not None


@pytest.mark.parametrize(
    ("limits", "bounded"), [({"throughput": "4/s"}, False), ({"p99": "1s"}, True), ({"other:throughput": "4/s"}, True)]
)
def test_a_load_can_be_too_much(limits: dict[str, object], bounded: bool) -> None:
    assert bounds_latency(SLO.parse(limits)) is bounded


def test_what_is_known_of_a_model_beside_reads_back() -> None:
    kept = Probed.from_dict(PROBED.as_dict(["other:throughput"]), Load("auto"))
    assert kept.metrics["other:throughput"] == PROBED.metrics["other:throughput"]
    assert "other:p99" not in kept.metrics
