"""The names that scripts and notebooks use, and nothing by accident."""

import subprocess
import sys

import pytest_triton

TYPES = {
    "Bound",
    "Candidate",
    "Case",
    "Effort",
    "Estimate",
    "Inputs",
    "Load",
    "Measurement",
    "Outcome",
    "Phases",
    "Powers",
    "Range",
    "SLO",
    "Verdict",
}
SERVERS = {"DockerServer", "EmbeddedServer", "LocalServer", "RemoteServer"}
ERRORS = {"PytestTritonError", "SLOViolation"}
FUNCTIONS = {"judge", "measure"}


def test_public_names_are_pinned_and_all_there():
    assert set(pytest_triton.__all__) == TYPES | SERVERS | ERRORS | FUNCTIONS
    for name in pytest_triton.__all__:
        assert getattr(pytest_triton, name).__name__ == name


def test_a_name_stays_what_it_is_whatever_was_imported_before():
    code = "import pytest_triton.protocol, pytest_triton; print(callable(pytest_triton.measure))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
