"""Performance tests as a user writes them, run by a real pytest on a real Triton."""

from __future__ import annotations

import json

import pytest
from python_models import write_model

from pytest_triton import EmbeddedServer
from pytest_triton.results.place import Place
from pytest_triton.results.store import Store


def test_functional_and_slo_tests_in_one_file(run, pytester):
    result = run(
        """
import numpy as np
import tritonclient.http as http

def test_identity(triton_client):
    tensor = http.InferInput("X", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.arange(4, dtype=np.float32).reshape(1, 4))
    assert triton_client.infer("identity", [tensor]).as_numpy("Y").tolist() == [[0, 1, 2, 3]]

@pytest.mark.triton_load(concurrency=[1, 2], batch_size=2)
@pytest.mark.triton_slo(p50="1s", error_rate="0%")
def test_slo(triton_perf):
    measurement = triton_perf()
    assert measurement.metrics["batch"].value >= 2
""",
        "--triton-json=found.json",
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "triton: 2 cases on server embedded (auto), one measurement at a time on a device",
            "on embedded Triton 2.51.0 (nvidia-pytriton *, Python *)",
            "identity:",
            "  Concurrency: 1, batch size: 2, throughput: * infer/sec, latency * usec*PASS",
            "  Concurrency: 2, batch size: 2, throughput: * infer/sec, latency * usec*PASS",
        ]
    )
    found = json.loads((pytester.path / "found.json").read_text())
    assert found["schema"] == 1
    assert found["fingerprint"]["cores"] >= 1
    assert [case["load"]["concurrency"] for case in found["cases"]] == [1, 2]
    case = found["cases"][0]
    assert case["id"].endswith("test_slo[c1]")
    assert case["verdict"] == "PASS"
    assert case["slo"] == {"p50": "<= 1.00 s", "error_rate": "<= 0 %"}
    assert case["measurement"]["throughput"]["unit"] == "1/s"
    assert (case["measurement"]["p50"]["low"] or 0) <= case["measurement"]["p50"]["value"]
    assert {"server_queue", "rss", "client_cpu_per_request", "load_time"} <= case["measurement"].keys()
    assert 'name="triton_verdict" value="PASS"' in (pytester.path / "junit.xml").read_text()
    kept = Store(Place(path=pytester.path / ".triton" / "results.db")).history("identity")
    assert [record.verdict for record in kept] == ["PASS", "PASS"]


def test_a_missed_slo_says_which_bound_by_how_much_and_why(run):
    result = run(
        """
@pytest.mark.triton_slo(p50="1us", throughput="1/s")
def test_slo(triton_perf):
    triton_perf()
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       triton_perf()",
            "E       *SLOViolation: identity, concurrency 1: p50 <= 1.00 us: missed with *",
            "E         bound * measured * interval * limit * margin*",
            "E         p50 * MISSED",
            "E         throughput * met",
            "E         Where the time went (mean *): queue *% | input *% | infer *% | output *% | network + client *%",
            "E         Measured: * requests in *",
            "E         config.pbtxt: *identity/config.pbtxt",
            "E         server.log: *server.log",
            "  Concurrency: 1, * FAIL",
        ]
    )
    assert "perf.py" not in result.stdout.str()


@pytest.mark.parametrize(
    ("policy", "outcomes", "status"),
    [("warn", {"warnings": 1}, 0), ("pass", {}, 0), ("fail", {"failed": 1}, 1)],
)
def test_inconclusive_has_its_own_word_and_policy(run, repository, policy, outcomes, status):
    write_model(repository, "coin", execute="import random, time; time.sleep(random.choice([0, 0.004]))", dims="[ 1 ]")
    result = run(
        """
@pytest.mark.triton_slo(mean=("<=", "1h"), p999="10s")
def test_slo(triton_perf):
    triton_perf()
""",
        f"--triton-inconclusive={policy}",
        "--triton-max-duration=400ms",
        "-rA",
        folder=repository / "coin",
    )
    result.assert_outcomes(**outcomes)
    assert result.ret == status
    if policy != "fail":
        result.stdout.fnmatch_lines(["*1 inconclusive*"])
    if policy == "warn":
        result.stdout.fnmatch_lines(["*TritonInconclusiveWarning: coin, concurrency 1: p999*undecided*"])


def test_overrides_and_several_calls_in_one_test(run, pytester):
    run(
        """
def test_it(triton_perf):
    for concurrency in (1, 3):
        triton_perf(concurrency=concurrency)
    with pytest.raises(Exception, match="did you mean 'concurrency'"):
        triton_perf(concurency=1)
""",
        "--triton-smoke",
        "--triton-json=found.json",
    ).assert_outcomes(passed=1)
    cases = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert [case["load"]["concurrency"] for case in cases] == [1, 3]
    assert [case["id"].rpartition("::")[2] for case in cases] == ["test_it", "test_it#2"]


def test_argument_fixtures_can_be_overridden(run):
    run(
        """
import numpy as np

@pytest.fixture(scope="module")
def triton_server_args():
    return ["--log-verbose=1"]

@pytest.fixture
def triton_inputs():
    return {"X": np.full(4, 7, dtype=np.float32)}

def test_it(triton_perf, triton_server):
    triton_perf()
    assert "HTTP request" in triton_server.log.read_text()
""",
        "--triton-smoke",
    ).assert_outcomes(passed=1)


def test_dynamic_dimensions_need_a_shape(run, repository):
    write_model(repository, "free", dims="[ -1, 2 ]")
    test = """
def test_without(triton_perf):
    triton_perf()

@pytest.mark.triton_input(shape={"X": [5, 2]})
def test_with(triton_perf):
    triton_perf()
"""
    result = run(test, "--triton-smoke", folder=repository / "free")
    assert result.parseoutcomes() == {"errors": 1, "passed": 1}
    result.stdout.fnmatch_lines(
        ["*InputError: input 'X' has free dimensions*", "*model: free", "*@pytest.mark.triton_input(shape=*"]
    )


def test_another_plugin_may_bring_the_strategy(run, pytester):
    pytester.makeconftest(
        """
        from pytest_triton.search.selection import Status
        from pytest_triton.search.strategies import Drop

        class Never:
            name = "never"
            def step(self, trial):
                return Drop(Status.SKIPPED, "not today")

        def pytest_triton_make_strategy(config, candidates, settings):
            return Never()
        """
    )
    result = run(
        """
@pytest.mark.triton_search({"instance_group.count": [1, 2]})
def test_best(triton_perf):
    triton_perf()
"""
    )
    result.assert_outcomes(skipped=2, failed=1)
    result.stdout.fnmatch_lines(["*no configuration can win: 2 skipped of 2 candidates*"])


def test_a_running_server_is_measured_as_it_is(run, repository, tmp_path):
    """What it serves already is not loaded anew: others may be using it."""
    server = EmbeddedServer(repository, output=tmp_path / "server", arguments=["--disable-auto-complete-config"])
    server.start()
    try:
        server.control.load("identity")
        loads = server.log.read_text().count("successfully loaded")
        result = run(
            """
def test_it(triton_perf, triton_client):
    assert triton_client.is_model_ready("identity")
    assert "load_time" not in triton_perf().metrics
""",
            "--triton-smoke",
            f"--triton-server=http://{server.endpoints.http}",
        )
        assert server.log.read_text().count("successfully loaded") == loads
    finally:
        server.stop()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["on remote Triton 2.51.0 at *", "  Concurrency: 1, throughput: *"])


def test_a_server_that_does_not_answer_is_named(run):
    result = run("def test_it(triton_perf):\n    triton_perf()\n", "--triton-server=http://127.0.0.1:9")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*127.0.0.1:9*"])
