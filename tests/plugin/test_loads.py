"""Loads as a user writes them: open loop, and models that call others, on a real Triton."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from python_models import write_model

CALLS = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for each in requests:
            tensor = pb_utils.Tensor("X", pb_utils.get_input_tensor_by_name(each, "X").as_numpy())
            for model in ("fast", "slow"):
                call = pb_utils.InferenceRequest(model_name=model, requested_output_names=["Y"], inputs=[tensor])
                answer = pb_utils.get_output_tensor_by_name(call.exec(), "Y")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", answer.as_numpy())]))
        return answers
"""


DECOUPLED = """backend: "python"
model_transaction_policy {{ decoupled: true }}
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
ANSWERS = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for each in requests:
            sender = each.get_response_sender()
            tensor = pb_utils.get_input_tensor_by_name(each, "X").as_numpy()
            for turn in range(3):
                time.sleep(0.004)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("Y", tensor + turn)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def found(pytester: pytest.Pytester) -> list[dict]:
    return json.loads((pytester.path / "found.json").read_text())["cases"]


def test_open_loop(run, pytester: pytest.Pytester, repository: Path):
    (repository / "identity" / "gaps.txt").write_text("10000\n15000\n")
    result = run(
        """
from pytest_triton import Phases

pytestmark = pytest.mark.triton_slo(p50="5s", error_rate="0%")

@pytest.mark.triton_load(rate=["40/s", Phases(("1s", "20/s", "60/s"))], arrivals="constant")
def test_rate(triton_perf):
    measurement = triton_perf()
    assert measurement.metrics["achieved_rate"].value == measurement.metrics["offered_rate"].value
    assert "send_lag_p99" in measurement.metrics

@pytest.mark.triton_load(arrivals="gaps.txt")
def test_file(triton_perf):
    assert 70 < triton_perf().metrics["offered_rate"].value < 90
    triton_perf(rate="30/s", arrivals="poisson", batch_size=2)
    triton_perf(arrivals="poisson", concurrency=2)
""",
        "--triton-json=found.json",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "  Request rate: 40, constant, throughput: * infer/sec, latency * usec (p99 * usec)  PASS",
            "  Request rate: 20-60, constant, throughput: *",
            "  Request intervals: gaps.txt, throughput: *",
            "  Request rate: 30, batch size: 2, throughput: *",
            "  Concurrency: 2, throughput: *",
        ]
    )
    cases = found(pytester)
    assert [case["id"].rpartition("::")[2] for case in cases] == [
        "test_rate[r40]",
        "test_rate[r20to60]",
        "test_file",
        "test_file#2",
        "test_file#3",
    ]
    assert [case["load"].get("rate") for case in cases] == [40, [[1, 20, 60]], None, 30, None]
    assert [case["load"].get("arrivals") for case in cases] == ["constant", "constant", "gaps.txt", "poisson", None]
    assert len({case["key"] for case in cases}) == 5


def test_a_stream(run, pytester: pytest.Pytester, repository: Path):
    answers = write_model(repository, "answers", dims="[ 4 ]", configuration=DECOUPLED)
    (answers / "1" / "model.py").write_text(ANSWERS)
    result = run(
        """
@pytest.mark.triton_load(protocol="grpc", streaming=True)
@pytest.mark.triton_slo(ttfr_p50="5s", inter_response_p50="5s", response_throughput="1/s", responses=3, error_rate="0%")
def test_it(triton_perf):
    metrics = triton_perf().metrics
    assert metrics["responses"].value == 3
    assert metrics["inter_response_p50"].value >= 0.004
    assert 0.004 <= metrics["ttfr_p50"].value < metrics["p50"].value
""",
        "--triton-json=found.json",
        folder=answers,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["  Concurrency: 1, gRPC stream, throughput: *, * responses/sec, first response * usec (p99 * usec)  PASS"]
    )
    (case,) = found(pytester)
    assert case["load"] == {"concurrency": 1, "batch_size": 1, "protocol": "grpc", "streaming": True}
    assert {"ttfr_p99", "inter_response_p99", "response_throughput", "responses"} <= case["measurement"].keys()


def test_a_search_over_rates(run, pytester: pytest.Pytester):
    result = run(
        """
@pytest.mark.triton_search({"rate": ["30/s", "60/s"], "instance_count": [1]})
@pytest.mark.triton_slo(p50="5s")
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-json=found.json",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["r60-i1 * r60 *"])
    assert {case["load"]["rate"] for case in found(pytester)} == {30, 60}
    assert found(pytester)[-1]["load"]["rate"] == 60


def test_what_contradicts_is_told_where_it_is_written(run):
    result = run(
        """
@pytest.mark.triton_load(rate="40/s")
def test_it(triton_perf):
    triton_perf(concurrency=4)
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*triton_perf(): concurrency=4 beside scheduled arrivals means nothing*"])


def test_the_slowest_of_the_models_that_are_called_is_named(run, pytester: pytest.Pytester, repository: Path):
    write_model(repository, "fast", dims="[ 4 ]")
    write_model(repository, "slow", dims="[ 4 ]", execute="__import__('time').sleep(0.03)")
    calls = write_model(repository, "calls", dims="[ 4 ]")
    (calls / "1" / "model.py").write_text(CALLS)
    result = run(
        """
@pytest.fixture(scope="module")
def triton_server_args():
    return ["--disable-auto-complete-config", "--load-model=fast", "--load-model=slow"]

@pytest.mark.triton_slo(p50="10ms")
def test_it(triton_perf):
    triton_perf()
""",
        "--triton-json=found.json",
        folder=calls,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *Where the time went*",
            "E * fast: queue *, infer *; * requests in * executions, 1.0 inferences each",
            "E * slow: queue *, infer *; * requests in * executions, 1.0 inferences each",
            "E * Of the models that it calls, slow takes *% of the time, most of it computing: try a faster*",
        ]
    )
    (case,) = found(pytester)
    assert set(case["composing"]) == {"fast", "slow"}
    slow = case["composing"]["slow"]
    # The server counts while the load goes on: at either end a request may be between the two.
    assert abs(case["composing"]["fast"]["requests"] - slow["requests"]) <= 1
    assert slow["executions"] == slow["requests"] > 0
    assert slow["server_compute_infer"] >= 0.03
    assert {"server_queue", "server_compute_input", "server_compute_output", "batch"} <= slow.keys()
