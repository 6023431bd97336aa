"""The names that scripts and notebooks use, and nothing by accident."""

import subprocess
import sys

import pytest_triton

NAMES = [
    "SLO",
    "Bound",
    "Candidate",
    "Case",
    "Effort",
    "EmbeddedServer",
    "Estimate",
    "Inputs",
    "Load",
    "LocalServer",
    "Measurement",
    "Outcome",
    "PytestTritonError",
    "RemoteServer",
    "SLOViolation",
    "Verdict",
    "judge",
    "measure",
]


def test_public_names_are_pinned_and_all_there():
    assert sorted(pytest_triton.__all__) == sorted(NAMES)
    for name in NAMES:
        assert getattr(pytest_triton, name).__name__ == name


def test_a_name_stays_what_it_is_whatever_was_imported_before():
    code = "import pytest_triton.protocol, pytest_triton; print(callable(pytest_triton.measure))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
