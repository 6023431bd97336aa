"""Which strategy a search goes by, and what a user sees of it."""

from __future__ import annotations

import json

import pytest
from python_models import write_model

CONFIGURATION = """backend: "python"
max_batch_size: 4
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
SEARCH = """
@pytest.mark.triton_search({{"instance_group.count": {counts}}}, {search})
@pytest.mark.triton_load({load})
def test_best(triton_perf):
    triton_perf()
"""


@pytest.fixture
def sleeper(repository):
    return write_model(
        repository, "sleeper", execute="import time; time.sleep(0.02)", configuration=CONFIGURATION, dims="[ 1 ]"
    )


@pytest.fixture
def found(pytester):
    return lambda: json.loads((pytester.path / "found.json").read_text())


def test_candidates_are_proposed_until_none_is_left(run, sleeper, found):
    search = SEARCH.format(counts=[1, 2], search="strategy='optuna', trials=2", load="concurrency=2")
    result = run(search, "--triton-json=found.json", "-v", folder=sleeper)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_best[[]trial-01[]] PASSED*", "i2 * winner*"])
    assert len({json.dumps(case["configuration"]) for case in found()["cases"][:-1]}) == 2
    assert found()["searches"][0]["configuration"]["instance_group.count"] == 2


def test_workers_share_a_study(run, sleeper, found, pytester):
    search = SEARCH.format(counts=[1, 2, 3, 4], search="strategy='optuna', trials=4", load="concurrency=2")
    result = run(search, "--triton-json=found.json", "-n2", "--triton-smoke", folder=sleeper)
    result.assert_outcomes(passed=5)
    assert len({json.dumps(case["configuration"]) for case in found()["cases"] if "status" in case}) == 4
    assert list((pytester.path / ".triton" / "studies").glob("*.journal"))
    # What is to be known of the space is said once, whichever worker it comes from.
    assert result.outlines.count("triton: search of sleeper: 4 points") == 1


def test_the_option_goes_before_the_marker(run, sleeper, found):
    search = SEARCH.format(counts=[2], search="strategy='race'", load="concurrency=2")
    result = run(search, "--triton-strategy=exhaustive", "--triton-json=found.json", folder=sleeper)
    result.assert_outcomes(passed=2)
    assert len(found()["cases"][0]["probes"]) == 1


def test_a_race_says_what_it_skips_and_why(run, sleeper, found):
    search = SEARCH.format(counts=[2], search="strategy='race'", load="concurrency=[1, 2, 4, 8, 16]")
    result = run(search, "--triton-json=found.json", "-rs", folder=sleeper)
    result.stdout.fnmatch_lines(["*plateau: i2-c* in throughput from c* to c*"])
    assert sum(1 for case in found()["cases"] if case.get("status") == "skipped") >= 1


def test_a_study_that_cannot_be_opened(run, sleeper):
    search = SEARCH.format(
        counts=[1, 2], search="strategy='optuna', trials=2, storage='study.txt'", load="concurrency=2"
    )
    result = run(search, "--collect-only", folder=sleeper)
    result.stdout.fnmatch_lines(["*triton_search: storage='*study.txt' is no place for a study*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_the_rate_is_looked_for(run, sleeper, found):
    search = SEARCH.format(counts=[2], search="strategy='race'", load="rate='auto'")
    run(search, "--triton-json=found.json", folder=sleeper)
    loads = [case["load"]["rate"] for case in found()["cases"]]
    assert all(10 < rate <= 110 for rate in loads)
