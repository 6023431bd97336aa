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
    test = '@pytest.mark.triton_beside("other", concurrency=1)' + SEARCH.format(axes=axes, more="")
    result = run(test, "--triton-smoke", "--triton-json=found.json")
    result.assert_outcomes(passed=5)


def test_a_load_beside_that_fails_is_no_measurement(run, repository):
    write_model(repository, "other", execute='raise ValueError("out of order")', dims="[ 2 ]")
    result = run(BESIDE)
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*RequestError: other answered a request with an error: ValueError: out of order"])
