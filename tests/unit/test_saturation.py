"""Looking for the load: which concurrency is settled on, on servers whose behaviour is a formula."""

import pytest

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Estimate
from pytest_triton.saturation import find_concurrency
from pytest_triton.slo import SLO


def probe(throughput_of, asked):
    def measure(case):
        asked.append(case.load.concurrency)
        throughput = throughput_of(case.load.concurrency)
        latency = case.load.concurrency / throughput
        return Measurement({"throughput": Estimate(throughput), "p99": Estimate(latency)})

    return measure


@pytest.mark.parametrize(
    ("throughput_of", "limits", "settled", "asked"),
    [
        (lambda c: min(c, 4) * 100, {}, 4, [1, 2, 4, 8]),
        (lambda c: 100, {}, 1, [1, 2]),
        (lambda c: 100 * (1 + 0.01 * c), {}, 1, [1, 2]),
        (lambda c: min(c, 64) * 100, {"p99": "10ms"}, 64, [1, 2, 4, 8, 16, 32, 64, 128]),
        (lambda c: 100 * c**0.5, {"p99": "25ms"}, 4, [1, 2, 4, 8]),
        (lambda c: 100, {"p99": "1ms"}, 1, [1]),
    ],
    ids=["plateau", "flat", "less than 5 %", "SLO not in the way", "SLO ends it", "SLO never kept"],
)
def test_concurrency(throughput_of, limits, settled, asked):
    case, seen = Case(Candidate("m"), Load("auto"), slo=SLO.parse(limits)), []
    found, measurement = find_concurrency(case, probe(throughput_of, seen))
    assert (found.load.concurrency, seen) == (settled, asked)
    assert measurement.metrics["throughput"].value == throughput_of(settled)


def test_a_measurement_that_is_not_valid_ends_the_search():
    def broken(case):
        return Measurement({}, problems=("none of 3 requests succeeded",))

    found, measurement = find_concurrency(Case(Candidate("m"), Load("auto")), broken)
    assert found.load.concurrency == 1
    assert measurement.problems
