"""What is sent to a Docker engine, and read from its answers, without one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from python_models import write_model

from pytest_triton.errors import OptionError, RepositoryError, ServerUnavailable
from pytest_triton.server.choice import resolve
from pytest_triton.server.docker.archive import pack_folder, pack_link, pack_repository
from pytest_triton.server.docker.engine import Engine, connect
from pytest_triton.server.docker.groups import find_groups
from pytest_triton.server.docker.image import Pull
from pytest_triton.server.docker.network import choose_network
from pytest_triton.server.docker.options import parse_options
from pytest_triton.server.docker.usage import read_stats

GIB = 1 << 30


def test_options_of_docker_run() -> None:
    text = """
    --user=1000:1000 -e NAME=value --env TOKEN --env=ABSENT   # a comment
    --shm-size 4g --ulimit nofile=1024:2048 --volume=/data:/data:ro --cpus=1.5 --network=host
    """
    options = parse_options(text, {"TOKEN": "secret"})
    create = dict(options.create)
    limits = {limit.name: (limit.soft, limit.hard) for limit in create.pop("ulimits")}
    assert limits == {"memlock": (-1, -1), "stack": (67108864, 67108864), "nofile": (1024, 2048)}
    assert options.network == "host"
    assert create == {
        "user": "1000:1000",
        "environment": {"NAME": "value", "TOKEN": "secret"},
        "shm_size": "4g",
        "volumes": ["/data:/data:ro"],
        "nano_cpus": 1_500_000_000,
    }


def test_shared_memory_of_its_own_is_a_gigabyte_unless_it_is_the_hosts() -> None:
    assert parse_options("").create["shm_size"] == "1g"
    assert "shm_size" not in parse_options("--ipc=host").create


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--shmsize=2g", "did you mean '--shm-size'"),
        ("--shm-size=much", "a size as in 2g"),
        ("--shm-size", "expected one argument"),
        ("--rm", "removed anyway"),
        ("-p 8000:8000", "ports are chosen"),
        ("--gpus=some", "--gpus=some"),
        ("--ulimit=nofile", "NAME=VALUE"),
        ("--env-file=/nowhere", "/nowhere"),
        ("--env='A", "No closing quotation"),
        ("image", "image is no option"),
    ],
)
def test_options_that_cannot_be_meant(text: str, said: str) -> None:
    with pytest.raises(OptionError) as raised:
        parse_options(text)
    assert said in str(raised.value)
    assert "--triton-docker-args" in str(raised.value)


def test_gpus_that_only_the_engine_sees() -> None:
    requests = [parse_options(f"--gpus={gpus}").create["device_requests"][0] for gpus in ("all", "2", "device=0,1")]
    assert [(request["Count"], request["DeviceIDs"]) for request in requests] == [(-1, []), (2, []), (0, ["0", "1"])]


def test_auto_is_docker_only_where_an_image_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [resolve("auto"), resolve("auto", image="triton")] == ["embedded", "docker"]
    assert resolve("auto", program="/opt/tritonserver/bin/tritonserver", image="triton") == "local"


def unpack(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {member.name: member for member in found.getmembers()}


def test_a_repository_is_packed_whole_and_readable(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "identity")
    weights = folder / "1" / "weights.bin"
    weights.write_bytes(b"w" * 1234)
    weights.chmod(0o600)
    (folder / "1" / "link.bin").symlink_to("weights.bin")
    (folder / "1" / "__pycache__").mkdir()
    (folder / "1" / "__pycache__" / "model.pyc").write_bytes(b"")
    found = unpack(b"".join(pack_repository(tmp_path / "models", PurePosixPath("models"))))
    version = "models/identity/1"
    assert set(found) == {
        "models",
        "models/identity",
        "models/identity/config.pbtxt",
        version,
        *(f"{version}/{name}" for name in ("model.py", "weights.bin", "link.bin", "__pycache__")),
    }
    assert found[f"{version}/link.bin"].size == found[f"{version}/weights.bin"].size == 1234
    assert found[f"{version}/weights.bin"].mode & 0o444 == 0o444
    assert found[f"{version}/__pycache__"].isfile()


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "identity")
    (folder / "1" / "weights.bin").symlink_to("/etc/passwd")
    with pytest.raises(RepositoryError, match="leads out of the repository"):
        b"".join(pack_repository(tmp_path / "models", PurePosixPath("models")))


def test_folders_and_links() -> None:
    folders = unpack(pack_folder(PurePosixPath("pytest-triton/aliases")))
    assert list(folders) == ["pytest-triton", "pytest-triton/aliases"]
    assert unpack(pack_link("m__2", PurePosixPath("/models/m")))["m__2"].linkname == "/models/m"


def test_progress_of_a_pull() -> None:
    pull = Pull()
    assert str(pull) == ""
    for step in (
        {"status": "Pulling from nvidia/tritonserver", "id": "26.08-py3"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": GIB, "total": 2 * GIB}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 1, "total": GIB}},
        {"status": "Download complete", "id": "b", "progressDetail": {}},
        {"status": "Extracting", "id": "b", "progressDetail": {"current": 5, "total": 7}},
        {"status": "Pull complete", "id": "b", "progressDetail": {}},
        {"status": "Already exists", "id": "c", "progressDetail": {}},
    ):
        pull.note(step)
    assert str(pull) == ": 2.00 GiB of 3.00 GiB, 1 of 2 layers unpacked"


@pytest.mark.parametrize(
    ("memory", "rss"),
    [
        ({"usage": 500, "stats": {"inactive_file": 200, "anon": 100}}, 300),
        ({"usage": 500, "stats": {"total_inactive_file": 150, "inactive_file": 1}}, 350),
        ({"usage": 500, "stats": {}}, 500),
        ({}, None),
    ],
)
def test_memory_is_without_the_file_cache(memory: dict[str, Any], rss: int | None) -> None:
    usage = read_stats({"memory_stats": memory, "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}, 7)
    assert (usage.rss, usage.cpu_seconds, usage.at_ns) == (rss, 2.5, 7)


def test_a_container_that_has_ended_uses_nothing_known() -> None:
    usage = read_stats({"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}, 7)
    assert (usage.rss, usage.cpu_seconds) == (None, None)


@pytest.mark.parametrize("address", ["tcp://gpu-box:2375", "ssh://me@gpu-box"])
def test_loopback_of_another_machine_is_not_ours(address: str) -> None:
    engine = Engine(None, address)  # type: ignore[arg-type]
    with pytest.raises(ServerUnavailable, match="another machine"):
        choose_network(engine)
    assert str(choose_network(engine, bind="0.0.0.0")) == "bridge network, published ports of gpu-box"


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(ServerUnavailable, match="no Docker engine answers at unix://") as raised:
        connect()
    assert "systemctl start docker" in raised.value.hint
    assert "--triton-server=embedded" in raised.value.hint


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            "0::/system.slice/docker-abc.scope\n",
            {
                "system.slice/docker-abc.scope/cpu.stat": "usage_usec 2500000\nnr_periods 9\nnr_throttled 2\n",
                "system.slice/docker-abc.scope/memory.current": "500\n",
                "system.slice/docker-abc.scope/memory.stat": "anon 100\ninactive_file 200\n",
                "system.slice/docker-abc.scope/cgroup.procs": "1\n2\n3\n4\n",
            },
        ),
        (
            "5:cpuacct,cpu:/docker/abc\n3:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/docker/abc\n",
            {
                "cpuacct,cpu/docker/abc/cpu.stat": "nr_periods 9\nnr_throttled 2\n",
                "cpuacct,cpu/docker/abc/cpuacct.usage": "2500000000\n",
                "memory/docker/abc/memory.usage_in_bytes": "500\n",
                "memory/docker/abc/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n",
                "memory/docker/abc/cgroup.procs": "1\n2\n3\n4\n",
                "docker/abc/cgroup.procs": "1\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_control_groups(groups: str, files: dict[str, str], tmp_path: Path) -> None:
    write_files(tmp_path / "proc", {"7/cgroup": groups})
    write_files(tmp_path / "cgroups", files)
    found = find_groups(7, "abc", tmp_path / "proc", tmp_path / "cgroups")
    assert found is not None
    usage = found.read()
    assert (usage.rss, usage.cpu_seconds, usage.children) == (300, 2.5, 1)
    assert (usage.quota_periods, usage.throttled_periods) == (9, 2)
    assert find_groups(7, "another", tmp_path / "proc", tmp_path / "cgroups") is None
    assert find_groups(8, "abc", tmp_path / "proc", tmp_path / "cgroups") is None
