"""One measurement at a time on a device, across processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pytest_triton.lease import CPU, LeaseError, is_busy, lease

HOLD = """
import pathlib, sys, time
from pytest_triton.lease import lease
with lease({name: f"GPU {name}" for name in sys.argv[2:]}, folder=pathlib.Path(sys.argv[1]), purpose="test_it"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Have another process hold GPUs, or the CPU without any; return the process."""
    processes = []

    def start(*gpus):
        command = [sys.executable, "-c", HOLD, str(tmp_path), *gpus]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


def free(tmp_path, *gpus):
    """Tell whether GPUs, or the CPU without any, can be had at once."""
    try:
        with lease({name: name for name in gpus}, folder=tmp_path, timeout=0):
            return True
    except LeaseError:
        return False


def test_a_held_device_is_waited_for_and_its_holder_named(tmp_path, hold):
    holder, told = hold("0"), []
    with (
        pytest.raises(LeaseError, match=rf"GPU 0 did not become free in time: process {holder.pid} \(test_it\) meas"),
        lease({"0": "GPU 0"}, folder=tmp_path, timeout=1.5, waiting=told.append),
    ):
        pass
    assert told == [f"waiting for GPU 0: process {holder.pid} (test_it) measures on it"]


def test_gpus_are_measured_on_at_once_but_not_beside_the_cpu(tmp_path, hold):
    hold("0", "1")
    assert not free(tmp_path, "1", "2")
    assert free(tmp_path, "2")
    assert not free(tmp_path)
    assert is_busy(folder=tmp_path)


def test_who_measures_on_the_cpu_has_the_machine_for_itself(tmp_path, hold):
    hold()
    assert not free(tmp_path)
    assert not free(tmp_path, "0")


def test_of_those_who_share_the_cpu_a_living_one_is_named(tmp_path, hold):
    """What the last one wrote into the file tells of nobody who still holds it."""
    first, last = hold("0"), hold("1")
    last.kill()
    last.wait()
    with pytest.raises(LeaseError, match=f"process {first.pid} measures"), lease(folder=tmp_path, timeout=0):
        pass
    hold("2")
    with pytest.raises(LeaseError, match="and 1 more measures on it"), lease(folder=tmp_path, timeout=0):
        pass


def test_a_killed_holder_holds_nothing(tmp_path, hold):
    holder = hold("0")
    assert not free(tmp_path, "0")
    holder.kill()
    holder.wait()
    assert free(tmp_path, "0")
    assert not is_busy(folder=tmp_path)


def test_who_waits_is_next(tmp_path):
    """A run of many measurements does not keep another one out until its end."""
    order = []

    def run(name, times):
        for _ in range(times):
            with lease(folder=tmp_path, timeout=30):
                order.append(name)
                time.sleep(0.1)

    many = threading.Thread(target=run, args=("many", 10))
    many.start()
    time.sleep(0.05)
    run("one", 1)
    many.join()
    assert order.index("one") <= 2


def test_whatever_the_order_they_are_named_in_nobody_waits_for_ever(tmp_path):
    def run(*gpus):
        for _ in range(30):
            with lease({name: name for name in gpus}, folder=tmp_path, timeout=30):
                pass

    threads = [threading.Thread(target=run, args=gpus) for gpus in (("a", "b"), ("b", "a"), ())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


def test_every_user_finds_the_locks(tmp_path):
    folder = tmp_path / "of-all"
    with lease({"MIG-GPU-1/2/0": "slice"}, folder=folder):
        pass
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_what_another_user_made_is_locked_all_the_same(request):
    temporary = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    temporary.chmod(0o755)
    folder = temporary / "of-all"
    with lease(folder=folder):
        pass
    for path in folder.iterdir():
        path.chmod(0o644)  # as an older umask would have it
    with lease(folder=folder):
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                os._exit(0 if is_busy(folder=folder) else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("trap", ["file for a folder", "link for a folder", "link for a lock", "hard link for a lock"])
def test_a_folder_that_cannot_be_used_is_named(tmp_path, trap):
    folder, precious = tmp_path / "leases", tmp_path / "precious"
    precious.write_text("precious")
    if trap == "file for a folder":
        folder.touch()
    elif trap == "link for a folder":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        lock = folder / f"{CPU}.lock"
        lock.symlink_to(precious) if trap == "link for a lock" else lock.hardlink_to(precious)
    with pytest.raises(LeaseError, match=f"cannot take turns in {folder}"), lease(folder=folder):
        pass
    assert precious.read_text() == "precious"
