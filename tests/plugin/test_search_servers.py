"""Searches that end servers: options of the server, a fresh one for each candidate, candidates that crash it."""

from __future__ import annotations

import json

from python_models import write_model

CRASHING = """import json, os
        crash = json.loads(args["model_config"])["parameters"].get("crash", {}).get("string_value")
        self.crash = crash
        if crash == "load":
            os.abort()
        if crash == "server":
            os.kill(os.getppid(), 9)"""
DYING = """import os
        self.count = getattr(self, "count", 0) + 1
        if self.crash == "later" and self.count > 3:
            os.abort()"""
SEARCH = """
@pytest.mark.triton_search({axes}{more})
@pytest.mark.triton_load(concurrency=1)
def test_best(triton_perf):
    triton_perf()
"""


def test_a_candidate_that_crashes_is_a_result_and_the_search_goes_on(run, repository):
    write_model(
        repository,
        "crashing",
        initialize=CRASHING,
        execute=DYING,
        dims="[ 2 ]",
    )
    axes = {"parameters.crash": ["load", "server", "later", None]}
    result = run(SEARCH.format(axes=axes, more=""), "--triton-smoke", "-v", folder=repository / "crashing")
    assert result.parseoutcomes() == {"crashed": 3, "passed": 2}
    result.stdout.fnmatch_lines(
        [
            "*: crashed: the model's process ended while it was loaded*",
            "*: crashed: *killed by SIGKILL*",
            "*: crashed: the model's process ended under load*",
        ]
    )


def test_a_server_that_never_starts_ends_the_search(run, repository):
    test = """
@pytest.fixture(scope="module")
def triton_server_args():
    return ["--no-such-option=1"]
""" + SEARCH.format(axes={"instance_group.count": [1, 2, 3, 4]}, more="")
    result = run(test, "--triton-smoke")
    assert result.parseoutcomes() == {"errors": 5}
    result.stdout.fnmatch_lines(["*no-such-option*", "*Triton has failed to start 3 times in a row*"])


def test_options_of_the_server_are_axes(run, pytester):
    axes = {"server.cache_config": [None, "local,size=1048576", "local,size=none"], "instance_group.count": [1, 2]}
    result = run(SEARCH.format(axes=axes, more=""), "--triton-smoke", "--triton-json=found.json", "-v")
    assert result.parseoutcomes() == {"passed": 5, "unloadable": 2}
    result.stdout.fnmatch_lines(["*: unloadable: tritonserver does not start with --cache-config=local,size=none: *"])
    assert len(json.loads((pytester.path / "found.json").read_text())["cases"]) == 7


REFUSED = """
@pytest.mark.triton_search({"server.cache_confg": ["1"]})
def test_misspelt(triton_perf): ...

@pytest.mark.triton_search({"server.http_port": ["1"]})
def test_not_a_choice(triton_perf): ...

@pytest.mark.triton_beside("other")
def test_no_load(triton_perf): ...

@pytest.mark.triton_beside("other", concurrency="auto")
def test_looked_for(triton_perf): ...

@pytest.mark.triton_beside("other", concurrency=[1, 2])
def test_several(triton_perf): ...

@pytest.mark.triton_beside("other", rate=20)
def test_no_unit(triton_perf): ...

@pytest.mark.triton_beside(7, concurrency=1)
def test_no_name(triton_perf): ...

@pytest.mark.triton_beside("other", concurency=1)
def test_misspelt_too(triton_perf): ...

@pytest.mark.triton_search(objective="throughput + third:throughput")
def test_nobody_there(triton_perf): ...

@pytest.mark.triton_beside("other", concurrency=1)
@pytest.mark.triton_slo(model="othr", p99="1s")
def test_nobody_either(triton_perf): ...

@pytest.mark.triton_slo(model="identity", p99="1s")
def test_itself(triton_perf): ...

@pytest.mark.triton_beside("other", concurrency=1)
@pytest.mark.triton_slo(model="other", offered_rate="1/s")
def test_no_open_loop(triton_perf): ...

@pytest.mark.triton_slo(model="other", rss="1GiB")
def test_of_the_server(triton_perf): ...
"""


def test_what_cannot_be_meant_is_refused_at_collection(pytester, run):
    said = [
        "did you mean 'cache_config'",
        "server option 'http_port' is no axis",
        "other is under no load",
        "concurrency='auto' beside a measurement",
        "concurrency=[[]1, 2[]] beside a measurement",
        "rate=20",
        "a model is named by a string, not 7",
        "did you mean 'concurrency'",
        "no model 'third' is under load beside identity",
        "did you mean 'other'",
        "identity is the model that is measured",
        "this load does not give other:offered_rate",
        "rss is the whole server's, not one model's",
    ]
    tests = REFUSED.strip().split("\n\n")
    for number, test in enumerate(tests[1:]):
        (pytester.path / "models" / "identity" / f"test_refused_{number}.py").write_text("import pytest\n\n" + test)
    result = run(tests[0])
    assert result.parseoutcomes() == {"errors": len(tests)}
    result.stdout.fnmatch_lines_random([f"*{each}*" for each in said])


def test_a_fresh_server_for_each_candidate_on_request(run, pytester):
    axes = {"instance_group.count": [1, 2]}
    run(SEARCH.format(axes=axes, more=', restart="candidate"'), "--triton-smoke").assert_outcomes(passed=3)


BESIDE = """
@pytest.mark.triton_load(concurrency=1)
@pytest.mark.triton_beside("other", rate="50/s")
def test_beside(triton_perf, triton_client):
    before = count(triton_client)
    triton_perf()
    assert count(triton_client) > before + 10

def count(client):
    if not client.is_model_ready("other"):
        return 0
    return client.get_inference_statistics("other")["model_stats"][0]["inference_count"]
"""


def test_other_models_are_under_a_load_beside(run, repository):
    write_model(repository, "other", dims="[ 2 ]")
    run(BESIDE).assert_outcomes(passed=1)


def test_two_models_are_searched_together(run, repository, pytester):
    write_model(repository, "other", dims="[ 2 ]")
    axes = {"instance_group.count": [1, 2], "other:max_batch_size": [1, 4]}
    by = ', objective="throughput + other:throughput"'
    test = '@pytest.mark.triton_beside("other", concurrency=1)' + SEARCH.format(axes=axes, more=by)
    result = run(test, "--triton-smoke", "--triton-json=found.json")
    result.assert_outcomes(passed=5)
    cases = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert all(case["measurement"]["other:throughput"]["value"] > 0 for case in cases)


TOGETHER = """
@pytest.mark.triton_search({{"instance_group.count": [1, 2]}}, objective="throughput + 0.5 * other:throughput")
@pytest.mark.triton_load(concurrency=2)
@pytest.mark.triton_beside("other", concurrency=1)
@pytest.mark.triton_slo(model="other", p50="{limit}")
def test_best(triton_perf):
    triton_perf()
"""
SLEEPING = """backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""


def test_an_objective_and_bounds_may_be_of_a_model_beside(run, repository, pytester):
    for name in ("main", "other"):
        execute = "import time; time.sleep(0.02)"
        write_model(repository, name, execute=execute, configuration=SLEEPING, dims="[ 1 ]")
    result = run(TOGETHER.format(limit="1s"), "--triton-json=found.json", "-v", folder=repository / "main")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "configuration * 0.6667 throughput + 0.3333 other:throughput *other:throughput *other:p50*",
            "i2 * winner*",
            "SLO: PASS: other:p50 <= 1.00 s: kept with *",
        ]
    )
    found = json.loads((pytester.path / "found.json").read_text())
    assert found["searches"][0]["configuration"] == {"instance_group.count": 2}
    assert [case["beside"]["other"]["concurrency"] for case in found["cases"]] == [1, 1, 1]
    assert all(20 < case["measurement"]["other:throughput"]["value"] < 52 for case in found["cases"])


BOUND = """
@pytest.mark.triton_load(concurrency=1)
@pytest.mark.triton_beside("other", concurrency=1)
@pytest.mark.triton_slo(model="other", p50="10ms")
def test_gate(triton_perf):
    triton_perf()
"""


def test_a_bound_on_a_model_beside_is_missed(run, repository):
    write_model(repository, "other", execute="import time; time.sleep(0.02)", configuration=SLEEPING, dims="[ 1 ]")
    result = run(BOUND)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*identity, concurrency 1: other:p50 <= 10.0 ms: missed with *",
            "*other:p50 * <= 10.0 ms *triton_slo(model='other')* MISSED*",
            "*Beside it other, concurrency 1: throughput *",
            "*Only bounds on other are missed*",
            "*beside it other: Concurrency: 1, throughput: *",
        ]
    )


def test_a_load_beside_that_fails_is_no_measurement(run, repository):
    write_model(repository, "other", execute='raise ValueError("out of order")', dims="[ 2 ]")
    result = run(BESIDE)
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*RequestError: other answered a request with an error: ValueError: out of order"])
