"""Which engine sends the load of a session."""

from __future__ import annotations

import pytest

PERF = """
@pytest.mark.triton_load(concurrency=2, protocol="grpc")
def test_it(triton_perf):
    triton_perf()
"""


def test_another_engine_measures(run, pytester):
    pytester.makeini("[pytest]\ntriton_engine = tritonclient\n")
    result = run(PERF, "--triton-smoke")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["triton: *engine tritonclient (ini)*"])


def test_an_engine_that_cannot_send_says_why(run):
    result = run(PERF, "--triton-engine=perf_analyzer", "--triton-perf-analyzer=nowhere")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no Perf Analyzer at */nowhere*"])


def test_perf_analyzer_of_an_image_without_docker(run, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    result = run(PERF, "--triton-engine=perf_analyzer", "--triton-perf-analyzer=docker:")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no Docker engine answers at unix:///nowhere/docker.sock", "*--triton-engine=wire*"])


def test_an_engine_that_is_not_there(run):
    result = run(PERF, "--triton-engine=tritonclent")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--triton-engine=tritonclent is not one of *; did you mean 'tritonclient'?*"])
