"""Which GPUs there are, which are meant, and what they are doing: NVML's answers are made up, on any machine."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from gpus import GIB, H100, L4, install_fakes

from pytest_triton.errors import OptionError
from pytest_triton.gpu_usage import join, summarise
from pytest_triton.observation import GpuFigures, GpuUsage, add_up_figures
from pytest_triton.server import nvml
from pytest_triton.server.base import Endpoints
from pytest_triton.server.gpu import read_gpu_figures
from pytest_triton.server.gpu_watch import GpuSource, GpuWatch, choose_source
from pytest_triton.server.gpus import GpuChoice, advise_gpus, choose_gpus
from pytest_triton.server.remote import RemoteServer
from pytest_triton.server.usage import read_quota

SLICES = [
    {"uuid": f"MIG-{number}c4c5a27-e508-5556-b2ea-7e549465741e", "name": "1g.10gb", "used": GIB, "total": 10 * GIB}
    for number in (8, 9)
]
SLICED = {**H100, "uuid": "GPU-cccccccc-1111-2222-3333-444444444444", "slices": SLICES}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    monkeypatch.undo()
    nvml._open.cache_clear()


def chosen(wanted, environment=None):
    return [gpu.index for gpu in choose_gpus(wanted, environment).gpus]


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ("", ["0", "1", "2:0", "2:1"]),
        ("all", ["0", "1", "2:0", "2:1"]),
        ("none", []),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("1,1", ["1"]),
        ("2", ["2:0", "2:1"]),
        ("2:1,0", ["2:1", "0"]),
        (L4["uuid"], ["1"]),
        ("GPU-bbbb", ["1"]),
        (SLICES[1]["uuid"], ["2:1"]),
    ],
)
def test_gpus_are_meant_by_index_and_uuid_and_slices_are_devices(monkeypatch, wanted, indices):
    install_fakes(monkeypatch, H100, L4, SLICED)
    assert chosen(wanted) == indices


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("3", "there is no GPU 3 here"),
        ("0,3", "there is no GPU 3 here"),
        ("0:0", "there is no GPU 0:0 here"),
        ("MIG-77", "there is no GPU MIG-77 here"),
        ("GPU-", "'GPU-' is no GPU"),
        ("-1", "'-1' is no GPU"),
        ("0 1", "'0 1' is no GPU"),
        ("ALL", "'ALL' is no GPU"),
        (",", "names no GPU"),
        ("none,0", "'none' is no GPU"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(monkeypatch, wanted, complaint):
    install_fakes(monkeypatch, H100, SLICED)
    with pytest.raises(OptionError) as caught:
        choose_gpus(wanted)
    assert complaint in caught.value.problem
    if "there is no" in complaint:
        assert caught.value.hint.startswith(f"Here are 0 (NVIDIA H100 80GB HBM3, {H100['uuid']}), 1:0 (1g.10gb, MIG-8")


def test_the_beginning_of_several_names_none(monkeypatch):
    install_fakes(monkeypatch, H100, {**L4, "uuid": "GPU-aaaaffff"})
    with pytest.raises(OptionError, match="GPU-aaaa is the beginning of several"):
        choose_gpus("GPU-aaaa")


def test_without_a_driver_nothing_asks_for_a_gpu_and_to_name_one_is_an_error(monkeypatch):
    install_fakes(monkeypatch)
    monkeypatch.delenv("FAKE_GPUS")
    for wanted in ("", "all"):
        choice = choose_gpus(wanted)
        assert (choice.uuids, choice.environment) == ((), {})
    with pytest.raises(OptionError, match=r"none at all \(NVML: NVML Shared Library Not Found\)"):
        choose_gpus("0")


@pytest.mark.parametrize(
    ("visible", "wanted", "indices", "environment"),
    [
        (None, "", ["0", "1"], None),
        (None, "1", ["1"], L4["uuid"]),
        (None, "1,0", ["1", "0"], f"{L4['uuid']},{H100['uuid']}"),
        (None, "none", [], "-1"),
        (None, "all", ["0", "1"], None),
        ("1", "", ["1"], None),
        ("1,7,0", "", ["1"], None),  # CUDA stops at the first that is not there
        ("", "", [], None),
        ("-1", "", [], None),
        (H100["uuid"], "", ["0"], None),
        ("1", "all", ["0", "1"], f"{H100['uuid']},{L4['uuid']}"),
        ("1", "0", ["0"], H100["uuid"]),
    ],
)
def test_what_the_environment_leaves_is_taken_unless_something_is_said(
    monkeypatch, visible, wanted, indices, environment
):
    install_fakes(monkeypatch, H100, L4)
    choice = choose_gpus(wanted, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert [gpu.index for gpu in choice.gpus] == indices
    assert choice.environment.get("CUDA_VISIBLE_DEVICES") == environment


def test_processes_share_several_gpus_out(monkeypatch):
    install_fakes(monkeypatch, H100, L4)
    choice = choose_gpus()
    shares = [choice.share(number, of=3) for number in range(3)]
    assert [share.uuids for share in shares] == [(H100["uuid"],), (L4["uuid"],), (H100["uuid"],)]
    assert shares[1].environment == {"CUDA_VISIBLE_DEVICES": L4["uuid"]}
    assert choice.share(0, of=1) == choice
    alone = choose_gpus("0")
    assert alone.share(1, of=2) == alone
    assert GpuChoice().share(1, of=2) == GpuChoice()


def test_a_model_that_asks_for_a_gpu_which_its_server_does_not_see(monkeypatch):
    install_fakes(monkeypatch, H100, L4)
    none = "instance group one_0 of model one has kind KIND_GPU but no GPUs are available"
    other = "instance group two_0 of model two specifies invalid or unsupported gpu id 1. GPUs with at least"
    assert "This server sees: 0 is NVIDIA L4 24576 MiB." in advise_gpus(other, choose_gpus("1"))
    assert "--triton-gpus=none hides them" in advise_gpus(none, choose_gpus("none"))
    assert "(CUDA_VISIBLE_DEVICES hides them)" in advise_gpus(none, choose_gpus("", {"CUDA_VISIBLE_DEVICES": ""}))
    assert advise_gpus("no such file", choose_gpus()) == ""


def test_figures_of_several_gpus_are_added_up(monkeypatch):
    install_fakes(monkeypatch, {**H100, "reasons": 0x04}, {**L4, "utilization": 20, "power": 50_000, "reasons": 0x48})
    figures = nvml.NvmlReader(choose_gpus().gpus)()
    assert (figures.memory, figures.total) == (6 * GIB, 104 * GIB)
    assert figures.utilization == pytest.approx(0.3)
    assert figures.power == pytest.approx(300)
    assert figures.clock == pytest.approx(1.98e9)
    # The power cap is no slowdown; the general reason says nothing beside the one that it goes along with.
    assert figures.slowdowns == {"HW thermal slowdown"}


@pytest.mark.parametrize(
    ("reasons", "slowdowns"),
    [
        (0x00, set()),
        (0x07, set()),
        (0x08, {"HW slowdown"}),
        (0x20, {"SW thermal slowdown"}),
        (0xE8, {"SW thermal slowdown", "HW thermal slowdown", "HW power brake slowdown"}),
    ],
)
@pytest.mark.parametrize("old", [{}, {"old": True}])
def test_why_clocks_are_held_down(monkeypatch, reasons, slowdowns, old):
    install_fakes(monkeypatch, {**H100, **old, "reasons": reasons})
    assert nvml.NvmlReader(choose_gpus().gpus)().slowdowns == slowdowns


def test_of_a_slice_its_memory_is_known_and_the_clock_of_the_whole(monkeypatch):
    install_fakes(monkeypatch, {**SLICED, "reasons": 0x40})
    figures = nvml.NvmlReader(choose_gpus("0:1").gpus)()
    assert (figures.memory, figures.total, figures.clock) == (GIB, 10 * GIB, 1.98e9)
    assert (figures.utilization, figures.power, figures.energy) == (None, None, None)
    assert figures.slowdowns == {"HW thermal slowdown"}


def test_what_one_gpu_does_not_tell_is_known_of_no_sum(monkeypatch):
    install_fakes(monkeypatch, H100, {key: value for key, value in L4.items() if key != "power"})
    figures = nvml.NvmlReader(choose_gpus().gpus)()
    assert (figures.power, figures.energy, figures.memory) == (None, None, 6 * GIB)


# In Triton's own lines, with the figures of two servers that are published; their GPUs' names are shorter here.
METRICS = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="simple",version="1"} 2.000000
# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-a"} 0.500000
nv_gpu_utilization{gpu_uuid="GPU-b"} 0.100000
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 16101933056.000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-b"} 16101933056.000000
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 617611264.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-b"} 974913536.000000
# HELP nv_gpu_power_usage GPU power usage in watts
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{gpu_uuid="GPU-a"} 20.085000
nv_gpu_power_usage{gpu_uuid="GPU-b"} 55.137000
# HELP nv_gpu_power_limit GPU power management limit in watts
# TYPE nv_gpu_power_limit gauge
nv_gpu_power_limit{gpu_uuid="GPU-a"} 60.000000
nv_gpu_power_limit{gpu_uuid="GPU-b"} 300.000000
# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started
# TYPE nv_energy_consumption counter
nv_energy_consumption{gpu_uuid="GPU-a"} 320.387000
nv_energy_consumption{gpu_uuid="GPU-b"} 9380.053000
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.100000
"""


def test_tritons_metrics_are_read():
    figures = read_gpu_figures(METRICS)
    assert (figures.memory, figures.total) == (617611264 + 974913536, 2 * 16101933056)
    assert figures.utilization == pytest.approx(0.3)
    assert figures.power == pytest.approx(75.222)
    assert figures.energy == pytest.approx(9700.44)


def test_a_running_server_tells_of_its_gpus_by_its_metrics(monkeypatch):
    monkeypatch.delenv("FAKE_GPUS", raising=False)
    asked = []

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, format, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Metrics) as endpoint:
        Thread(target=endpoint.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{endpoint.server_port}"
        server = RemoteServer(f"grpc://127.0.0.1:1,http://{at}/metrics", headers={"Authorization": "Bearer x"})
        assert server.usage().gpu_memory == 617611264 + 974913536
        assert server.gpu_source.read().power == pytest.approx(75.222)
        endpoint.shutdown()
    assert asked == [("/metrics", "Bearer x")] * 2
    assert RemoteServer("http://127.0.0.1:1").gpu_source is None


@pytest.mark.parametrize("text", ["", "nv_cpu_utilization 0.5\n", 'nv_gpu_utilization{gpu_uuid="a"} nan\n', "<html>"])
def test_metrics_without_a_gpu_tell_nothing(text):
    assert not read_gpu_figures(text).known


def reading(seconds, **figures):
    return GpuFigures(at_ns=int(seconds * 1e9), **figures)


def test_the_most_memory_and_the_means_of_the_rest_are_kept():
    usage = summarise(
        [
            reading(0, memory=5, utilization=0.2, power=100, clock=1e9, slowdowns=frozenset()),
            reading(1, memory=9, utilization=0.6, power=300, clock=2e9, slowdowns=frozenset({"HW slowdown"})),
            reading(2, memory=None, utilization=None, power=None, clock=None),
            reading(3, memory=7, utilization=0.4, power=200, clock=3e9),
        ]
    )
    assert (usage.memory, usage.readings, usage.seconds) == (9, 4, 3)
    assert (usage.utilization, usage.power, usage.clock) == pytest.approx((0.4, 200, 2e9))
    assert (usage.throttled, usage.slowdowns) == (0.5, {"HW slowdown": 0.5})


@pytest.mark.parametrize(
    ("energies", "power"),
    [
        ([0, 40, 80, 120], 40.0),
        # A counter that moves every two seconds, and is read every second: what is between its steps counts.
        ([0, 0, 80, 80, 160, 160, 240, 240], 40.0),
        # It moved once, or began anew with the server: nothing to go by but the readings of power.
        ([0, 0, 80, 80], 7.0),
        ([100, 200, 0, 40], 7.0),
        ([None, None], 7.0),
    ],
)
def test_power_is_what_the_counted_energy_says(energies, power):
    readings = [reading(second, energy=energy, power=7.0) for second, energy in enumerate(energies)]
    assert summarise(readings).power == pytest.approx(power)


def test_stretches_are_joined_by_their_lengths():
    usage = join(
        [
            GpuUsage(memory=5, utilization=0.2, power=100, clock=1e9, throttled=0.0, readings=3, seconds=1),
            GpuUsage(7, 0.6, power=400, throttled=1.0, slowdowns={"HW slowdown": 1.0}, readings=1, seconds=2),
        ]
    )
    assert (usage.memory, usage.readings, usage.seconds) == (7, 4, 3)
    assert (usage.utilization, usage.power, usage.clock) == pytest.approx((0.3, 300, 1e9))
    assert (usage.throttled, usage.slowdowns) == (0.25, {"HW slowdown": 0.25})
    assert join([]) == GpuUsage()
    assert add_up_figures([]) == GpuFigures()


def test_gpus_are_watched_while_a_block_lasts(monkeypatch):
    install_fakes(monkeypatch, H100)
    source = choose_source(choose_gpus(), Endpoints(http="127.0.0.1:1", metrics="127.0.0.1:1"))
    assert source is not None
    with GpuWatch(GpuSource(source.read, 0.01)) as watch:
        early = watch.usage()
        deadline = time.monotonic() + 20
        while (late := watch.usage()) is not None and late.readings < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert early is not None
    assert late is not None
    assert (early.readings, late.readings >= 30) == (2, True)
    assert late.memory == 3 * GIB
    assert late.power == pytest.approx(250, rel=0.05)


def test_without_a_gpu_nothing_is_watched():
    assert choose_source(GpuChoice(), Endpoints(http="127.0.0.1:1")) is None
    asked = []

    def read():
        asked.append(1)
        return GpuFigures()

    with GpuWatch(GpuSource(read, 0.001)) as watch:
        time.sleep(0.05)
        assert watch.usage() is None
    assert len(asked) == 1


def test_metrics_that_cannot_be_had_tell_nothing():
    source = choose_source(GpuChoice(), Endpoints(http="127.0.0.1:1", metrics="127.0.0.1:1"))
    assert source is not None
    assert not source.read().known


QUOTA = "nr_periods 30\nnr_throttled 12\nthrottled_usec 5\n"


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ("0::/\n", "cpu.stat"),
        ("0::/user.slice/here\n", "user.slice/here/cpu.stat"),
        ("8:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n", "cpu,cpuacct/docker/abc/cpu.stat"),
        ("4:cpu,cpuacct:/docker/not-mounted\n", "cpu/cpu.stat"),
    ],
)
def test_the_quota_is_that_of_our_own_cgroup(tmp_path, own, place):
    (tmp_path / "own").write_text(own)
    assert read_quota(tmp_path / "cgroup", tmp_path / "own") == (None, None)
    stat = tmp_path / "cgroup" / place
    stat.parent.mkdir(parents=True)
    stat.write_text("usage_usec 10\n" + QUOTA.replace("30", "0"))
    assert read_quota(tmp_path / "cgroup", tmp_path / "own") == (None, None)
    stat.write_text("usage_usec 10\n" + QUOTA)
    assert read_quota(tmp_path / "cgroup", tmp_path / "own") == (30, 12)
