"""A search that takes long: killed, interrupted, gone on with, ended alone, shared between workers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from leftovers import family, wait_for_end
from python_models import write_model

from pytest_triton.results.place import Place
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store

# Instances serve as many requests at once, each asleep for 20 ms: more of them are faster on any machine.
CONFIGURATION = """
backend: "python"
max_batch_size: 4
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
SEARCH = """
import os, pathlib, time

@pytest.mark.triton_search({"instance_group.count": [1, 2, 3]}, strategy="exhaustive")
@pytest.mark.triton_load(concurrency=3)
def test_best(triton_perf, request):
    triton_perf()
    # Where such a run is to be interrupted.
    if os.environ.get("STOP_AFTER", "-") in request.node.name:
        time.sleep(60)
    assert "best]" not in request.node.name or not os.environ.get("FAIL_AT_THE_END")
"""


@pytest.fixture
def sleeper(repository):
    return write_model(repository, "sleeper", execute="import time; time.sleep(0.02)", configuration=CONFIGURATION)


@pytest.fixture
def stop(pytester, sleeper, run):
    """Run the search and end it with a signal once it has measured the candidate that is named; return its output."""

    def stop(point: str, ending: signal.Signals) -> tuple[int, str]:
        known = {(record.run, record.point) for record in recorded(pytester)}
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(sleeper)],
            cwd=pytester.path,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "STOP_AFTER": f"[{point}]"},
        ) as process:
            deadline = time.monotonic() + 60
            while point not in {r.point for r in recorded(pytester) if (r.run, r.point) not in known}:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
            processes = family(process.pid)
            os.kill(process.pid, ending)
            assert process.stdout is not None
            output = process.stdout.read()
        assert wait_for_end(processes, 5) == []
        return process.returncode, output

    # The conftest.py of the other runs, and the test.
    assert run(SEARCH, "--collect-only", "-q", folder=sleeper).ret == 0
    return stop


def recorded(pytester) -> list[Record]:
    return Store(Place(path=pytester.path / ".triton" / "results.db")).history("sleeper", candidates=True)


def test_a_search_goes_on_where_it_was_killed_or_interrupted(stop, run, sleeper, pytester):
    stop("i1", signal.SIGKILL)
    status, output = stop("i2", signal.SIGINT)
    assert status == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in output
    pytest.LineMatcher(output.splitlines()).fnmatch_lines(
        [
            "configuration * instances * throughput *",
            "i2 *",
            "i1 *",
            "The search for sleeper was not decided: i2 */s leads by its first figures.",
            "Run it again to go on: 2 of 3 candidates are kept.",
            "1 of 3 candidates reused from the run of ??:?? (--triton-fresh measures anew).",
        ]
    )
    result = run(SEARCH, "-v", "--triton-json=found.json", folder=sleeper)
    assert result.parseoutcomes() == {"reused": 2, "passed": 2}
    result.stdout.fnmatch_lines(
        [
            "*[[]i1[]] REUSED*",
            "*[[]i2[]] REUSED*",
            "*[[]i3[]] PASSED*",
            "In 3 of 3 candidates measured in * i3 gives the best throughput of sleeper: *",
            "2 of 3 candidates reused from the run of *",
        ]
    )
    first, second, third, end = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert first["reused"] != second["reused"], "each names the run that measured it"
    assert first["measurement"]["throughput"]["value"] < third["measurement"]["throughput"]["value"]
    assert "reused" not in third
    assert "reused" not in end
    # That one was decided: its end alone goes by what it has measured, and all of it begins anew.
    result = run(SEARCH, "-k", "best]", folder=sleeper)
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(["In 3 of 3 candidates measured in * i3 gives *", "3 of 3 candidates reused from *"])
    assert run(SEARCH, "-k", "i1", folder=sleeper).parseoutcomes() == {"passed": 1, "deselected": 3}


def test_nothing_is_reused_of_what_has_changed_or_when_told_so(run, sleeper):
    def outcomes(*arguments):
        result = run(SEARCH, "-k", "i1 or i2", *arguments, folder=sleeper)
        counts = result.parseoutcomes()
        counts.pop("deselected")
        return counts, str(result.stdout)

    assert outcomes("--triton-smoke")[0] == {"passed": 2}
    assert outcomes("--triton-smoke")[0] == {"reused": 2}
    assert outcomes("--triton-smoke", "--triton-fresh")[0] == {"passed": 2}
    counts, said = outcomes("--triton-smoke", "--triton-strategy=race")
    assert counts == {"passed": 2}
    assert "measured of 2 candidates is not reused; changed since: the strategy" in said
    path = sleeper / "1" / "model.py"
    path.write_text(path.read_text().replace("0.02", "0.021"))
    (sleeper / "config.pbtxt").write_text((sleeper / "config.pbtxt").read_text().replace(": 4", ": 2"))
    counts, said = outcomes("--triton-smoke")
    assert counts == {"passed": 2}
    assert "is not reused; changed since: the model's files, config.pbtxt, the strategy" in said
    assert said.count("is not reused") == 1
    assert "changed since" not in outcomes("--triton-smoke")[1]


def test_after_a_failed_end_only_that_is_run_again(run, sleeper, pytester, monkeypatch):
    monkeypatch.setenv("FAIL_AT_THE_END", "1")
    run(SEARCH, "--collect-only", "-q", folder=sleeper)
    pytester.runpytest_subprocess("--triton-smoke", timeout=120).assert_outcomes(passed=3, failed=1)
    monkeypatch.delenv("FAIL_AT_THE_END")
    result = pytester.runpytest_subprocess("--triton-smoke", "--lf", timeout=120)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "triton: the end of 1 search on server *",
            "In 3 of 3 candidates measured in *",
            "3 of 3 candidates reused from the run of *",
        ]
    )


def test_workers_find_the_same_and_never_measure_at_once(run, sleeper, pytester):
    found = {}
    for workers in ("0", "2"):
        result = run(SEARCH, "-n", workers, f"--triton-json={workers}.json", "--triton-smoke", folder=sleeper)
        result.assert_outcomes(passed=4)
        result.stdout.fnmatch_lines(["triton: *one measurement at a time*"])
        document = json.loads((pytester.path / f"{workers}.json").read_text())
        cases = {case["id"]: (case["verdict"], case.get("status")) for case in document["cases"]}
        found[workers] = cases, document["searches"][0]["measured"], document["searches"][0]["candidates"]
        records = sorted(recorded(pytester), key=lambda record: record.began)[-4:]
        assert len({record.run for record in records}) == 1
        for one, other in itertools.pairwise(records):
            assert one.began + one.seconds <= other.began
    assert found["0"] == found["2"]
