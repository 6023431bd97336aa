"""What others are told of a run: GitHub and JUnit, with workers and without."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

THREE_VERDICTS = """
@pytest.mark.triton_load(concurrency=2)
@pytest.mark.triton_slo(max="10s", error_rate="0%")
def test_kept(triton_perf):
    triton_perf()

@pytest.mark.triton_slo(max="1us")
def test_missed(triton_perf):
    triton_perf()

@pytest.mark.triton_slo(p999="10s")
def test_doubt(triton_perf):
    triton_perf()
"""
ON_GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "summary.md"}


def properties(path) -> dict[str, dict[str, str]]:
    """The properties of each test case in a JUnit file, by the test's name."""
    return {
        case.attrib["name"]: {entry.attrib["name"]: entry.attrib["value"] for entry in case.iter("property")}
        for case in ElementTree.parse(path).iter("testcase")
    }


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["one process", "workers"])
def test_three_verdicts_for_github_and_junit(run, pytester, monkeypatch, workers):
    for name, value in ON_GITHUB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    summary = pytester.path / "summary.md"
    summary.write_text("of a step before\n")
    result = run(
        THREE_VERDICTS, "--triton-max-duration=400ms", "--junitxml=junit.xml", "--triton-json=found.json", *workers
    )
    assert result.ret == 1
    commands = sorted(line for line in result.outlines if line.startswith("::"))
    assert [re.sub(r"missed with .*|undecided with .*", "...", command) for command in commands] == [
        "::error file=models/identity/test_identity.py,line=9,title=FAIL%3A test_identity.py%3A%3Atest_missed"
        "::max <= 1.00 us: ...",
        "::warning file=models/identity/test_identity.py,line=13,title=INCONCLUSIVE%3A test_identity.py%3A%3Atest_doubt"
        "::p999 <= 10.0 s: ...",
    ]
    text = summary.read_text()
    assert text.startswith("of a step before\n## Triton performance: ✅ 1 PASS, ❌ 1 FAIL, ⚠️ 1 INCONCLUSIVE\n")
    assert text.count("## Triton performance") == 1
    assert "**INCONCLUSIVE** means" in text
    assert "| ✅ PASS | `test_identity.py::test_kept` | concurrency 2 | max |" in text
    cases = {
        case["id"].rpartition("::")[2]: case for case in json.loads((pytester.path / "found.json").read_text())["cases"]
    }
    found = properties(pytester.path / "junit.xml")
    assert found.keys() == cases.keys()
    for name, told in found.items():
        case = cases[name]
        assert told["triton_verdict"] == case["verdict"]
        assert (told["triton_key"], told["triton_model"]) == (case["key"], "identity")
        assert told["triton_engine"] == "wire"
        assert told["triton_server"].startswith("embedded Triton")
        for metric, values in case["measurement"].items():
            assert float(told[f"triton_{metric}"]) == (values["value"] if values["value"] is not None else float("inf"))
            for end in ("low", "high"):
                assert (f"triton_{metric}_{end}" in told) == (values[end] is not None)
    assert found["test_kept"]["triton_load"] == "concurrency 2"
    assert found["test_doubt"]["triton_verdict"] == "INCONCLUSIVE"
    assert "undecided" in found["test_doubt"]["triton_reason"]


def test_what_early_verdicts_saved_is_told_of_all_workers(run, pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    result = run(
        """
@pytest.mark.triton_slo(error_rate="0%")
def test_one(triton_perf):
    triton_perf()

@pytest.mark.triton_slo(max="10s")
def test_two(triton_perf):
    triton_perf()

def test_without_bounds(triton_perf):
    triton_perf()
""",
        "-n2",
    )
    result.assert_outcomes(passed=3)
    line = r"2 of 2 measurements were decided early: \d\.\d s of load instead of 120 s"
    assert [each for each in result.outlines if re.fullmatch(line, each)]
    assert re.search(line, (pytester.path / "summary.md").read_text())


def test_a_second_measurement_of_a_test_has_properties_of_its_own(run, pytester):
    run(
        """
def test_it(triton_perf, record_property):
    record_property("mine", 1)
    for concurrency in (1, 3):
        triton_perf(concurrency=concurrency)
""",
        "--triton-smoke",
        "--junitxml=junit.xml",
    ).assert_outcomes(passed=1)
    told = properties(pytester.path / "junit.xml")["test_it"]
    assert told["mine"] == "1"
    assert (told["triton_load"], told["triton_load#2"]) == ("concurrency 1", "concurrency 3")
    assert float(told["triton_throughput#2"]) > 0


def test_a_search_for_github(run, pytester, monkeypatch):
    for name, value in ON_GITHUB.items():
        monkeypatch.setenv(name, value)
    run(
        """
@pytest.mark.triton_search({"instance_group.count": [1, 2], "instance_group.kind": ["KIND_CPU", "KIND_GPU"]})
@pytest.mark.triton_load(concurrency=2)
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
    )
    text = (pytester.path / "summary.md").read_text()
    assert "### Search: identity, throughput" in text
    assert re.search(r"^\| `i[12]-cpu` \| 8 \| yes \|", text, re.MULTILINE)
    assert "<summary>Candidates that were not measured</summary>" in text


def test_a_failure_that_another_plugin_annotates_is_annotated_once(run, pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(pytest_github_actions_annotate_failures="")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    result = run(THREE_VERDICTS, "--triton-max-duration=400ms", "-p", "pytest_github_actions_annotate_failures")
    assert [line.partition(" ")[0] for line in result.outlines if line.startswith("::")] == ["::warning"]


def test_a_summary_that_cannot_be_written_is_told(run, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/no/such/folder/summary.md")
    result = run("def test_it(triton_perf):\n    triton_perf()\n", "--triton-smoke")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["triton: cannot write the job's summary to /no/such/folder/summary.md *"])
    assert not [line for line in result.outlines if line.startswith("::")]
