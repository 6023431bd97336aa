"""One measurement at a time on a device, across processes."""

import subprocess
import sys
import threading
import time

import pytest

from pytest_triton.lease import LeaseError, lease

HOLD = """
import pathlib, sys, time
from pytest_triton.lease import lease
with lease("gpu0", folder=pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_held_device_is_waited_for_and_its_holder_named(tmp_path, holder):
    told = []
    with (
        pytest.raises(LeaseError, match=f"process {holder.pid} measures on it"),
        lease("gpu0", folder=tmp_path, timeout=0.2, waiting=told.append),
    ):
        pass
    assert told == [f"waiting for the gpu0: process {holder.pid} measures on it"]


def test_another_device_is_free(tmp_path, holder):
    with lease("gpu1", folder=tmp_path, timeout=0.2):
        pass


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    with lease("gpu0", folder=tmp_path, timeout=5):
        pass


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


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LeaseError, match="cannot lock the cpu"), lease(folder=tmp_path / "file" / "below"):
        pass
