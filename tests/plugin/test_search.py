"""A search as a user writes it: candidates, losers with their reasons, the winner's config.pbtxt."""

from __future__ import annotations

import json

import pytest
from python_models import write_model

# Two instances serve two requests at once, each asleep for 20 ms: twice the throughput, on any machine.
SLEEPING = """
name: "sleeper"  # its name
backend: "python"
max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]

# one is enough, is it not?
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
SEARCH = """
@pytest.mark.triton_search({axes})
@pytest.mark.triton_load(concurrency=2)
@pytest.mark.triton_slo(p50="{p50}")
def test_best(triton_perf):
    triton_perf()
"""


@pytest.fixture
def sleeper(repository):
    configuration = SLEEPING.replace("{", "{{").replace("}", "}}")
    return write_model(repository, "sleeper", execute="import time; time.sleep(0.02)", configuration=configuration)


def test_the_winner_is_found_written_and_installed_on_request(run, sleeper, pytester):
    axes = {"instance_group.count": [1, 2], "instance_group.kind": ["KIND_CPU", "KIND_GPU"]}
    result = run(
        SEARCH.format(axes=axes, p50="1s"), "--triton-apply-best", "--triton-json=found.json", "-v", folder=sleeper
    )
    assert result.parseoutcomes() == {"passed": 3, "unloadable": 2}
    result.stdout.fnmatch_lines(
        [
            "*[[]i1-*cpu*[]] PASSED*",
            "*UNLOADABLE*",
            "*triton search*",
            "configuration * max batch * dyn. batching * instances * load * p99 * throughput * RSS * CPU * gain*",
            "i2-* 4 * no * 2 * c2 * +* winner",
            "default *",
            "*: unloadable: *",
            "In 2 of 4 candidates measured in * s, i2-* gives the best throughput of sleeper: *",
            "SLO: PASS: p50 <= 1.00 s: kept with *",
            "config.pbtxt: *best/sleeper/config.pbtxt",
            "    -instance_group [[] { count: 1 kind: KIND_CPU } []]",
            "    +instance_group [[] { count: 2 kind: KIND_CPU } []]",
            "installed: *sleeper/config.pbtxt (the original is *sleeper/config.pbtxt.orig)",
        ]
    )
    patched = SLEEPING.replace("count: 1", "count: 2")
    assert (pytester.path / ".triton" / "best" / "sleeper" / "config.pbtxt").read_text() == patched
    assert (sleeper / "config.pbtxt").read_text() == patched
    assert (sleeper / "config.pbtxt.orig").read_text() == SLEEPING
    found = json.loads((pytester.path / "found.json").read_text())
    (search,) = found["searches"]
    assert (search["model"], search["objective"], search["candidates"]) == ("sleeper", "throughput", 4)
    assert search["configuration"]["instance_group.count"] == 2
    assert search["winner"] in [case["id"] for case in found["cases"]]
    assert search["gain"]["low"] > 0
    assert search["gain"]["low"] <= search["gain"]["value"] <= search["gain"]["high"]
    statuses = [case.get("status", "") for case in found["cases"]]
    assert statuses == ["measured", "unloadable", "measured", "unloadable", ""]
    assert found["cases"][-1]["verdict"] == "PASS"


def test_without_being_told_to_nothing_is_written_into_the_repository(run, sleeper):
    before = {path: path.read_bytes() for path in sleeper.rglob("*") if path.is_file()}
    run(SEARCH.format(axes={"instance_group.count": [2]}, p50="1s"), "--triton-smoke", folder=sleeper)
    after = {path: path.read_bytes() for path in sleeper.rglob("*") if path.is_file()}
    after.pop(sleeper / "test_sleeper.py")
    assert {path: data for path, data in after.items() if "__pycache__" not in path.parts} == before


def test_only_the_end_of_a_search_fails_a_run_and_names_the_nearest_miss(run, sleeper):
    result = run(SEARCH.format(axes={"instance_group.count": [1, 2]}, p50="5ms"), "-v", folder=sleeper)
    assert result.parseoutcomes() == {"infeasible": 2, "failed": 1}
    result.stdout.fnmatch_lines(
        [
            "*[[]i1[]] INFEASIBLE*",
            "*[[]i2[]] INFEASIBLE*",
            "*[[]best[]] FAILED*",
            "E *SLOViolation: sleeper: no configuration can win: 2 infeasible of 2 candidates",
            "E *Nearest miss: i*% beyond its bound*",
        ]
    )


def test_wrong_outputs_disqualify(run, repository):
    execute = """params = __import__("json").loads(self.config)["parameters"]
        if "wrong" in params:
            return [pb_utils.InferenceResponse([pb_utils.Tensor(
                "Y", 1 + pb_utils.get_input_tensor_by_name(each, "X").as_numpy())]) for each in requests]"""
    write_model(repository, "liar", initialize='self.config = args["model_config"]', execute=execute, dims="[ 2 ]")
    axes = {"parameters.wrong": [None, "1"]}
    result = run(SEARCH.format(axes=axes, p50="1s"), "--triton-smoke", folder=repository / "liar")
    assert result.parseoutcomes() == {"disqualified": 1, "passed": 2}
    result.stdout.fnmatch_lines(["*: disqualified: liar: wrong outputs: output 'Y' differs most at [[]*"])


def test_the_budget_ends_a_search_and_what_is_left_is_skipped(run, sleeper):
    axes = {"instance_group.count": [1, 2, 3]}
    result = run(SEARCH.format(axes=axes, p50="1s"), "--triton-budget=1ms", "-rs", folder=sleeper)
    assert result.parseoutcomes() == {"skipped": 2, "passed": 2}
    result.stdout.fnmatch_lines(["*the budget of 1.00 ms is used up*"])


def test_the_end_alone_has_nothing_to_decide(run, sleeper):
    result = run(
        SEARCH.format(axes={"instance_group.count": [1, 2]}, p50="1s"), "-k", "best-best or best]", folder=sleeper
    )
    result.stdout.fnmatch_lines(["*no candidate of the search for sleeper was measured in this run*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_the_load_may_be_looked_for(run, sleeper, pytester):
    run(
        """
@pytest.mark.triton_search({"instance_group.count": [1, 4]})
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-json=found.json",
        folder=sleeper,
    ).assert_outcomes(passed=3)
    one, four, best = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert one["load"]["concurrency"] <= 4
    assert four["load"]["concurrency"] >= 4
    assert best["configuration"] == {"instance_group.count": 4}


def test_workers_share_a_search(run, sleeper, pytester):
    result = run(
        SEARCH.format(axes={"instance_group.count": [1, 2, 3]}, p50="1s"),
        "-n2",
        "--triton-json=found.json",
        folder=sleeper,
    )
    result.assert_outcomes(passed=4)
    found = json.loads((pytester.path / "found.json").read_text())
    assert found["searches"][0]["measured"] == 3
    assert len(found["cases"]) == 4
    result.stdout.fnmatch_lines(["In 3 of 3 candidates measured in *"])


def test_a_leader_that_misses_the_slo_at_the_end_wins_nothing(run, repository, pytester):
    """It keeps the SLO while it is a candidate, and slows down for its confirmation."""
    flag = pytester.path / "slow"
    execute = f"import os, time; time.sleep(0.05 if os.path.exists({str(flag)!r}) else 0.005)"
    folder = write_model(repository, "fickle", execute=execute, dims="[ 2 ]")
    before = (folder / "config.pbtxt").read_text()
    result = run(
        f"""
import pathlib

@pytest.mark.triton_search({{"instance_group.count": [2]}})
@pytest.mark.triton_load(concurrency=2)
@pytest.mark.triton_slo(p50="25ms")
def test_best(triton_perf, request):
    if request.node.name.endswith("best]"):
        pathlib.Path({str(flag)!r}).touch()
    triton_perf()
""",
        "--triton-json=found.json",
        "--triton-apply-best",
        folder=folder,
    )
    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["*no configuration of fickle wins*", "SLO: FAIL: p50 <= 25.0 ms: missed *"])
    (search,) = json.loads((pytester.path / "found.json").read_text())["searches"]
    assert search["winner"] is None
    assert not (pytester.path / ".triton" / "best").exists()
    assert (folder / "config.pbtxt").read_text() == before


@pytest.mark.parametrize("name", ["../h100", "h100.pbtxt", "a b", "-h100", "a/b"])
def test_the_name_of_a_configuration_is_checked(run, name):
    result = run("", f"--triton-config-name={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--triton-config-name={name} is no name of a configuration: *"])


def test_several_objectives_have_a_front_and_a_winner_may_have_a_name(run, sleeper, pytester):
    search = """
@pytest.mark.triton_search({"instance_group.count": [1, 2]}, objective=["throughput/instances", "throughput"])
@pytest.mark.triton_load(concurrency=2)
def test_best(triton_perf):
    triton_perf()
"""
    result = run(search, "--triton-smoke", "--triton-config-name=h100", "--triton-json=found.json", folder=sleeper)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "configuration * throughput * throughput/instances * RSS *",
            "* as by default",
            "Pareto front of throughput/instances, throughput, by the candidates' first figures:",
        ]
    )
    (search,) = json.loads((pytester.path / "found.json").read_text())["searches"]
    assert search["objectives"] == ["throughput/instances", "throughput"]
    assert "i2" in search["front"]
    if search["winner"] != "default":
        assert (pytester.path / ".triton" / "best" / "sleeper" / "configs" / "h100.pbtxt").exists()
    assert not (sleeper / "configs").exists()
