"""The examples are collected as the documentation shows them, without a server and without their models' weights."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy as git has it: no model is built yet."""
    copy = tmp_path / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns("1", "__pycache__", ".triton"))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --strict-config\n")
    return copy


def collect(examples: Path, example: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", example],
        cwd=examples,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_alexnet_has_a_baseline_an_slo_and_a_search(examples: Path) -> None:
    found = collect(examples, "alexnet")
    assert found[:6] == [
        "test_verify_inference",
        *(f"test_baseline[c{concurrency}]" for concurrency in (1, 2, 3, 4)),
        "test_meets_its_slo",
    ]
    assert sorted(found[6:-1]) == sorted(
        f"test_best_configuration[i{instances}-t{threads}-{batching}]"
        for instances in (1, 2, 3)
        for threads in (1, 2)
        for batching in ("nodyn", "dyn")
    )
    assert found[-1] == "test_best_configuration[best]"


def test_magika_has_a_functional_test_beside_its_slo(examples: Path) -> None:
    assert collect(examples, "magika") == [
        "test_knows_source_code",
        "test_meets_its_slo[c1]",
        "test_meets_its_slo[c8]",
        "test_answers_in_time_whoever_asks",
    ]


def test_collection_builds_no_model(examples: Path) -> None:
    collect(examples, ".")
    assert not list(examples.rglob("model.onnx"))
