"""A model on a real GPU: what it did is measured, by NVML and by Triton alike, and other GPUs are not seen."""

from __future__ import annotations

import subprocess
import time

import pytest
from gpu_models import HELD, needs_gpu, write_gpu_model

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.errors import ModelLoadError
from pytest_triton.protocol import Effort, measure
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.gpu_watch import GpuSource, GpuWatch, ask_metrics, choose_source
from pytest_triton.server.gpus import choose_gpus
from pytest_triton.server.nvml import NvmlReader, list_gpus

pytestmark = needs_gpu
EFFORT = Effort(warmup=1.0, seconds=3.0, limit=5.0, looks=1)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    repository = tmp_path_factory.mktemp("gpu")
    write_gpu_model(repository, "busy")
    server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("output"), gpus=choose_gpus(list_gpus()[0].uuid))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def measured(served):
    return measure(served, Case(Candidate("busy"), Load(concurrency=4)), effort=EFFORT)


def test_gpus_are_those_of_nvidia_smi():
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    for gpu in list_gpus():
        assert gpu.uuid in listed
        assert gpu.sliced or f"GPU {gpu.index}: {gpu.name}" in listed


def test_the_model_sees_the_gpu_that_was_chosen_and_no_other(served, measured):
    seen = (served.repository / "busy" / "seen").read_text().splitlines()
    assert set(seen) == {f"1 {list_gpus()[0].uuid}"}


def test_everything_about_the_gpu_is_measured(measured):
    assert not measured.problems
    values = {name: estimate.value for name, estimate in measured.metrics.items()}
    gpu = list_gpus()[0]
    assert gpu.memory is not None
    assert HELD < values["gpu_memory"] < gpu.memory
    if gpu.sliced:
        return
    assert 0.1 < values["gpu_utilization"] <= 1
    assert 10 < values["gpu_power"] < 2000
    assert values["energy_per_inference"] == pytest.approx(values["gpu_power"] / values["throughput"])
    assert 1e8 < values["gpu_clock"] < 4e9
    assert 0 <= values["gpu_throttled"] <= 1


def test_the_energy_counter_agrees_with_the_readings_of_power(served, measured):
    """Readings are means over a part of the time: they agree while the load stays the same."""
    reader = NvmlReader(list_gpus()[:1])
    if reader().energy is None:
        pytest.skip("this GPU does not count energy")
    first = reader()
    powers = []
    while reader().at_ns - first.at_ns < 2e9:
        powers.append(reader().power)
        time.sleep(0.05)
    last = reader()
    mean = (last.energy - first.energy) / ((last.at_ns - first.at_ns) / 1e9)
    assert mean == pytest.approx(sum(powers) / len(powers), rel=0.3)


def test_triton_and_nvml_tell_the_same(served, measured):
    told = ask_metrics(served.endpoints)
    if not told.known:
        pytest.skip("this Triton tells of no GPU: it lacks DCGM")
    known = served.gpu_source.read()
    assert told.memory == pytest.approx(known.memory, rel=0.2)
    assert told.total == pytest.approx(known.total, rel=0.1)


def test_reading_is_done_beside_the_load(served):
    source = choose_source(choose_gpus(list_gpus()[0].uuid), served.endpoints)
    with GpuWatch(GpuSource(source.read, 0.01)) as watch:
        time.sleep(1)
        usage = watch.usage()
    assert usage.readings > 10


def test_without_its_gpu_the_model_is_refused(served, tmp_path):
    server = EmbeddedServer(served.repository, output=tmp_path, gpus=choose_gpus("none"))
    server.start()
    try:
        with pytest.raises(ModelLoadError):
            server.control.load("busy")
        assert server.usage().gpu_memory is None
    finally:
        server.stop()
