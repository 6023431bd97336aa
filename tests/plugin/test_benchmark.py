"""pytest-benchmark on our tests: its files, its comparisons and its options, on a real Triton."""

from __future__ import annotations

import json

import pytest
from python_models import write_model

CASES = """
@pytest.mark.triton_load(concurrency=[1, 2], batch_size=2)
def test_closed(triton_perf):
    triton_perf()

@pytest.mark.triton_load(rate="100/s")
def test_open(triton_perf):
    triton_perf()

def test_functional():
    pass
"""
ONE = "def test_it(triton_perf):\n    triton_perf()\n"


def benchmarks(path) -> dict[str, dict]:
    """The benchmarks of one of pytest-benchmark's files, by their names."""
    return {each["name"]: each for each in json.loads(path.read_text())["benchmarks"]}


def test_ops_is_the_throughput_and_an_open_loop_shows_latencies(run, pytester):
    result = run(
        CASES,
        "--triton-smoke",
        "--triton-json=found.json",
        "--benchmark-json=benchmarks.json",
        "--benchmark-group-by=param:concurrency",
        "-Werror",
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*benchmark 'concurrency=1': 2 tests*", "*benchmark 'concurrency=2': 1 tests*"])
    found = benchmarks(pytester.path / "benchmarks.json")
    cases = {
        case["id"].rpartition("::")[2]: case for case in json.loads((pytester.path / "found.json").read_text())["cases"]
    }
    assert found.keys() == cases.keys()
    for name, shown in found.items():
        case = cases[name]
        figures, extra = case["measurement"], shown["extra_info"]
        if name == "test_open":
            assert shown["stats"]["mean"] == pytest.approx(figures["mean"]["value"])
            assert shown["stats"]["max"] == pytest.approx(figures["max"]["value"])
        else:
            assert shown["stats"]["ops"] == pytest.approx(figures["throughput"]["value"])
        assert shown["stats"]["rounds"] == len(shown["stats"]["data"]) > 1
        assert (extra["key"], extra["model"], extra["verdict"]) == (case["key"], "identity", "PASS")
        assert extra["p99"] == figures["p99"]["value"]
        assert shown["params"] == case["load"] == extra["load"]
        assert shown["group"] == f"identity: {'latency' if name == 'test_open' else 'time per inference'}"


def test_two_runs_compare_and_a_slower_one_fails(run, repository, pytester):
    flag = pytester.path / "slow"
    execute = f"import os, time; time.sleep(0.15 if os.path.exists({str(flag)!r}) else 0.02)"
    folder = write_model(repository, "fickle", execute=execute, dims="[ 2 ]")
    again = ["--triton-smoke", "--benchmark-compare", "--benchmark-compare-fail=mean:90%"]
    assert run(ONE, "--triton-smoke", "--benchmark-autosave", folder=folder).ret == 0
    result = run(ONE, *again, folder=folder)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_it (NOW) *", "*1 passed*"])
    flag.touch()
    result = run(ONE, *again, folder=folder)
    assert result.ret != 0
    (result.stderr if "Performance has regressed" in result.stderr.str() else result.stdout).fnmatch_lines(
        ["*Performance has regressed*", "*test_it*mean*"]
    )


@pytest.mark.parametrize(
    ("arguments", "outcomes", "table"),
    [
        ([], {"passed": 4}, False),
        (["--triton-benchmark=off", "--benchmark-columns=mean"], {"passed": 4}, False),
        (["--benchmark-columns=mean"], {"passed": 4}, True),
        (["--benchmark-only"], {"passed": 3, "skipped": 1}, True),
        (["--benchmark-skip"], {"passed": 1, "skipped": 3}, False),
        (["--benchmark-disable"], {"passed": 4}, False),
        (["-p", "no:benchmark"], {"passed": 4}, False),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else "",
)
def test_its_options_mean_what_they_mean(run, arguments, outcomes, table):
    result = run(CASES, "--triton-smoke", *arguments)
    result.assert_outcomes(**outcomes)
    assert ("Name (time in" in result.stdout.str()) == table


def test_it_may_be_switched_off_by_workers(run):
    result = run(CASES, "--triton-smoke", "--benchmark-autosave", "-n2")
    result.assert_outcomes(passed=4, warnings=result.parseoutcomes().get("warnings", 0))


def test_options_in_an_ini_file_count(run, pytester):
    pytester.makeini("[pytest]\naddopts = --benchmark-json=benchmarks.json\n")
    run(ONE, "--triton-smoke").assert_outcomes(passed=1)
    assert benchmarks(pytester.path / "benchmarks.json").keys() == {"test_it"}


def test_who_asks_for_the_fixture_gets_it(run):
    """By its name; and one who uses it for something else has it to herself."""
    result = run(
        """
@pytest.mark.benchmark(group="mine")
def test_shown(triton_perf, benchmark):
    triton_perf()
    triton_perf(concurrency=2)
    assert benchmark.stats["ops"] > 0

def test_own(triton_perf, benchmark):
    assert benchmark(lambda: 7) == 7
    mean = benchmark.stats["mean"]
    triton_perf()
    assert 0 < benchmark.stats["mean"] == mean < 0.001
""",
        "--triton-smoke",
        "-Werror",
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*benchmark 'mine': 1 tests*"])


def test_a_candidate_without_figures_shows_none_and_is_no_mistake(run, pytester):
    result = run(
        """
@pytest.mark.triton_search({"instance_group.kind": ["KIND_CPU", "KIND_GPU"]})
@pytest.mark.triton_load(concurrency=1)
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
        "--benchmark-json=benchmarks.json",
        "-Werror",
    )
    assert result.parseoutcomes() == {"passed": 2, "unloadable": 1}
    assert benchmarks(pytester.path / "benchmarks.json").keys() == {"test_best[cpu]", "test_best[best]"}
