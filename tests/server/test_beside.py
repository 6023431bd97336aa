"""Models under loads of their own beside the measured one, on a real server: what they do is measured, too."""

from __future__ import annotations

import pytest
from python_models import write_model
from serving import serve

from pytest_triton.bench import Bench
from pytest_triton.case import Beside, Candidate, Case, Load
from pytest_triton.load import WireEngine
from pytest_triton.protocol import Effort
from pytest_triton.slo import SLO
from pytest_triton.verdict import Outcome, judge

CONFIGURATION = """backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
SLEEPS = {"quick": 0.005, "slow": 0.05}
SHORT = Effort(warmup=0.1, warmup_requests=1, warmup_limit=1.0, seconds=0.2, requests=20, limit=6.0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    for name, seconds in SLEEPS.items():
        execute = f"import time; time.sleep({seconds})"
        write_model(folder / "models", name, execute=execute, configuration=CONFIGURATION, dims="[ 1 ]")
    with serve(folder / "models", folder) as server:
        yield Bench(server, WireEngine())


def measure(bench, beside, effort=SHORT, **limits):
    case = Case(Candidate("quick"), Load(1), slo=SLO.parse(limits), beside={"slow": Beside(beside)})
    measurement = bench.measure(case, bench.deployer.deploy(case.candidate), effort)
    return measurement, judge(measurement, case.slo)


def test_its_figures_stand_beside_those_of_the_measured_model(bench):
    measurement, _ = measure(bench, Load(2))
    part = measurement.beside["slow"]
    # Two requests take turns in the one instance.
    assert measurement.metrics["slow:p50"].value >= 2 * SLEEPS["slow"] * 0.9
    assert 0 < part.metrics["throughput"].value <= 1.05 / SLEEPS["slow"]
    assert part.metrics["server_compute_infer"].value >= SLEEPS["slow"]
    assert measurement.metrics["throughput"].value > 2 * part.metrics["throughput"].value


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [({"slow:p50": "40ms"}, Outcome.FAIL), ({"slow:p50": "1s"}, Outcome.PASS), ({"p50": "1s"}, Outcome.PASS)],
)
def test_its_bounds_are_judged_by_its_own_requests(bench, limits, outcome):
    measurement, verdict = measure(bench, Load(1), **limits)
    assert verdict.outcome is outcome
    asked_for = "slow:p50" in limits
    # A bound on it is worth waiting for: it has as many requests as a bound takes.
    assert (measurement.beside["slow"].requests >= 20) is asked_for


def test_what_is_not_known_of_it_in_time_is_an_error_where_something_depends_on_it(bench):
    effort = Effort(warmup=0.0, warmup_requests=1, warmup_limit=0.5, seconds=0.02, requests=1, limit=0.02, looks=1)
    assert measure(bench, Load(1), effort)[1].outcome is Outcome.PASS
    _, verdict = measure(bench, Load(1), effort, **{"slow:p50": "1s"})
    assert verdict.outcome is Outcome.ERROR
    assert verdict.reason.startswith("slow, under load beside it: no request completed in ")
