"""Devices in real pytest sessions. NVML's answers are made up, and the server computes on the CPU all the same."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from gpu_models import needs_gpu, write_gpu_model
from gpus import GIB, H100, L4, install_fakes
from python_models import write_model

from pytest_triton.lease import lease
from pytest_triton.results.place import Place
from pytest_triton.results.store import Store

GATE = """
@pytest.mark.triton_slo({slo})
def test_gpu(triton_perf):
    triton_perf()
"""
HAS_A_DRIVER = """
from pytest_triton.plugin import slos

slos._DRIVERS = (__file__,)
"""


@pytest.fixture
def run_on(run, pytester, monkeypatch):
    """Run pytest on a machine with these GPUs; return the result and the cases of its JSON by their names."""

    def run_on(test, gpus, *arguments):
        install_fakes(monkeypatch, *gpus)
        conftest = pytester.path / "conftest.py"
        if HAS_A_DRIVER not in conftest.read_text():
            conftest.write_text(conftest.read_text() + HAS_A_DRIVER)
        found = pytester.path / "found.json"
        found.unlink(missing_ok=True)
        result = run(test, "--triton-json=found.json", *arguments)
        cases = json.loads(found.read_text())["cases"] if found.exists() else []
        return result, {case["id"].rpartition("::")[2]: case for case in cases}

    return run_on


def gate(slo=""):
    return GATE.format(slo=slo)


def test_what_a_gpu_did_is_measured_bounded_and_recorded(run_on, pytester):
    slo = 'gpu_memory="4GiB", gpu_utilization="30%", gpu_power="300W", energy_per_inference="100J", gpu_throttled="0%"'
    result, cases = run_on(gate(slo), [H100])
    result.assert_outcomes(passed=1)
    measured = {name: figure["value"] for name, figure in cases["test_gpu"]["measurement"].items()}
    assert measured["gpu_memory"] == 3 * GIB
    assert measured["gpu_power"] == pytest.approx(250, rel=0.1)
    assert measured["energy_per_inference"] == pytest.approx(measured["gpu_power"] / measured["throughput"])
    assert (measured["gpu_clock"], measured["gpu_throttled"]) == (1.98e9, 0)
    (record,) = Store(Place(path=pytester.path / ".triton" / "results.db")).history("identity")
    assert record.fingerprint["gpus"] == ["NVIDIA H100 80GB HBM3 81920 MiB"]


def test_a_throttled_gpu_makes_a_miss_inconclusive_and_is_told(run_on, pytester):
    result, cases = run_on(gate('throughput="1000000/s"'), [{**H100, "reasons": 0x48}])
    assert cases["test_gpu"]["verdict"] == "INCONCLUSIVE"
    told = "the GPU was throttled for 100% of the time (HW thermal slowdown: it was too hot)"
    assert told in cases["test_gpu"]["reason"]
    result.stdout.fnmatch_lines([f"triton: test_gpu: {told}"])
    # It is not measured up to the limit: no time makes up for what was measured already.
    (record,) = Store(Place(path=pytester.path / ".triton" / "results.db")).history("identity")
    assert record.effort["seconds"] < 30


def test_a_gpu_that_is_not_there_is_an_error_that_lists_what_is(run_on):
    result, _ = run_on(gate(), [H100], "--triton-gpus=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*--triton-gpus: there is no GPU 1 here*", f"*Here are 0 (NVIDIA H100 80GB HBM3, {H100['uuid']})*"]
    )
    result, _ = run_on(gate(), [H100], "--triton-gpus=first")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--triton-gpus=first: 'first' is no GPU; Write all, none, or GPUs*"])
    result, _ = run_on(gate('gpu_power="1W"'), [H100], "--triton-gpus=none")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*gpu_power <= 1.00 W*--triton-gpus=none leaves none*"])


TURNS = """
@pytest.mark.parametrize("turn", range(2))
def test_gpu(triton_perf, turn):
    triton_perf()
"""
MEETS = """
here = Path(args["model_repository"]).with_name(os.environ["CUDA_VISIBLE_DEVICES"])
        here.touch()
        deadline = time.monotonic() + 60
        while len(list(here.parent.glob("GPU-*"))) < 2:
            assert time.monotonic() < deadline, "nobody else came"
            time.sleep(0.01)
"""


def test_workers_have_a_gpu_each_and_measure_at_once(run_on, repository):
    """A model waits, while it is loaded for a measurement, for one on the other GPU."""
    shutil.rmtree(repository / "identity")
    model = write_model(repository, "identity", initialize=MEETS.strip(), dims="[ 4 ]") / "1" / "model.py"
    model.write_text("import os\nimport time\nfrom pathlib import Path\n" + model.read_text())
    result, _ = run_on(TURNS, [H100, L4], "-n", "2", "--triton-smoke")
    result.assert_outcomes(passed=2)
    assert {path.name for path in repository.glob("GPU-*")} == {H100["uuid"], L4["uuid"]}


def test_whoever_holds_the_device_is_named_and_waited_for_no_longer_than_asked(run, pytester):
    with lease(folder=pytester.path / "leases", purpose="another run"):
        result = run(gate(), "--triton-lease-folder=leases", "--triton-wait=1.5s")
    result.assert_outcomes(errors=1)
    holder = f"process {os.getpid()} (another run) measures on it"
    # Among the results, not among what the test has written.
    lines = [line for line in result.outlines if line.strip()]
    waiting = lines.index(f"triton: waiting for the CPU: {holder}")
    assert waiting < next(number for number, line in enumerate(lines) if line.startswith("=") and "ERRORS" in line)
    result.stdout.fnmatch_lines([f"*LeaseError: the CPU did not become free in time: {holder}"])


SEARCH = """
@pytest.mark.triton_load(concurrency=1)
@pytest.mark.triton_search({"instance_group.count": [1, 2]})
def test_best(triton_perf):
    triton_perf()
"""


def test_the_table_of_a_search_has_memory_and_utilisation(run_on):
    result, _ = run_on(SEARCH, [H100])
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines([r".*max GPU memory +avg\. GPU util\..*", r"i\d .* 3\.00 GiB +40\.0 %"])


@needs_gpu
def test_a_search_on_a_real_gpu(run, repository):
    folder = write_gpu_model(repository, "busy")
    result = run(SEARCH, "-rA", folder=folder)
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines([r".*max GPU memory +avg\. GPU util\..*", r"i\d .* \d+\.\d+ GiB +\d+\.\d+ %"])
