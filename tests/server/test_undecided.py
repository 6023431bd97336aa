"""A measurement whose model lies on its bound, on a real server: it stays undecided, and may end before its time."""

from __future__ import annotations

from python_models import write_model
from serving import serve

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.protocol import Effort, measure
from pytest_triton.slo import SLO
from pytest_triton.verdict import Outcome, judge

# Every other request is slow, so that half of them take longer than the bound on the median.
EVERY_OTHER = """import time
        self.slow = not self.slow
        time.sleep(0.03 if self.slow else 0.002)"""
CONFIGURATION = """backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
EFFORT = Effort(warmup=0.1, warmup_requests=2, seconds=0.2, requests=20, limit=8.0, gives_up=True)


def test_it_ends_where_more_time_would_not_decide(tmp_path):
    shape = {"configuration": CONFIGURATION, "dims": "[ 1 ]"}
    write_model(tmp_path / "models", "even", initialize="self.slow = False", execute=EVERY_OTHER, **shape)
    case = Case(Candidate("even"), Load(1), slo=SLO.parse({"p50": "16ms"}))
    with serve(tmp_path / "models", tmp_path) as server:
        measurement = measure(server, case, effort=EFFORT)
    assert judge(measurement, case.slo).outcome is Outcome.INCONCLUSIVE
    assert (measurement.looks, measurement.seconds < EFFORT.limit) == (EFFORT.looks - 1, True)
