"""Any process under our supervisor: nothing of it is left, however it ends."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_triton.server.supervised import SupervisedProcess, describe_status

# Starts a grandchild that leaves the session and loses its parent, as a daemon does, and writes its id to a file.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1] + ".tmp", "w").write(str(os.getpid()))
        os.rename(sys.argv[1] + ".tmp", sys.argv[1])
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(60)
"""


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def supervise(tmp_path: Path, *command: str) -> SupervisedProcess:
    private = tmp_path / "private"
    private.mkdir(exist_ok=True)
    (private / "file").touch()
    (private / "link").symlink_to(tmp_path)
    (Path("/dev/shm") / f"pytest-triton-test-{os.getpid()}-block").touch()
    process = SupervisedProcess(
        log=tmp_path / "log", shm_prefix=f"pytest-triton-test-{os.getpid()}", directories=[private]
    )
    if command:
        process.run(command, {"GREETING": "hello"})
    return process


def wait_for(process: SupervisedProcess) -> int:
    wait_until(lambda: process.status is not None)
    assert process.status is not None
    return process.status


def assert_nothing_left(tmp_path: Path) -> None:
    assert not (tmp_path / "private").exists()
    assert list(Path("/dev/shm").glob(f"pytest-triton-test-{os.getpid()}*")) == []
    assert tmp_path.exists()


def test_output_goes_to_the_log_and_the_status_is_told(tmp_path: Path):
    process = supervise(tmp_path, "/bin/sh", "-c", "echo $GREETING; echo oops >&2; exit 3")
    assert wait_for(process) == 3
    process.end(grace=1)
    assert (tmp_path / "log").read_text() == "hello\noops\n"
    assert_nothing_left(tmp_path)


def test_a_process_that_wants_to_end_has_time_to(tmp_path: Path):
    process = supervise(
        tmp_path, "/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    )
    wait_until(lambda: "up" in (tmp_path / "log").read_text())
    process.end(grace=5)
    assert (tmp_path / "log").read_text() == "up\nbye\n"
    assert process.status == 0


def test_a_process_that_does_not_end_is_killed(tmp_path: Path):
    process = supervise(tmp_path, "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    wait_until(lambda: "up" in (tmp_path / "log").read_text())
    process.end(grace=0.1)
    assert process.status == -9
    assert_nothing_left(tmp_path)


def test_a_daemon_that_it_left_behind_is_killed(tmp_path: Path):
    process = supervise(tmp_path, sys.executable, "-c", DAEMON, str(tmp_path / "pid"))
    wait_until((tmp_path / "pid").exists)
    daemon = psutil.Process(int((tmp_path / "pid").read_text()))
    process.end(grace=0.1)
    assert not daemon.is_running()
    assert_nothing_left(tmp_path)


def test_a_program_that_is_not_there_is_told_in_the_log(tmp_path: Path):
    process = supervise(tmp_path, str(tmp_path / "nothing"))
    assert wait_for(process) == 127
    process.end(grace=1)
    assert "cannot run" in (tmp_path / "log").read_text()


def test_what_is_made_before_there_is_a_process_is_removed_with_it(tmp_path: Path):
    supervise(tmp_path).end(grace=1)
    assert_nothing_left(tmp_path)


def test_what_is_made_before_there_is_a_process_is_removed_when_the_parent_is_killed(tmp_path: Path):
    child = os.fork()
    if child == 0:
        supervise(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    block = Path("/dev/shm") / f"pytest-triton-test-{child}-block"
    wait_until(lambda: not (tmp_path / "private").exists() and not block.exists())


def test_a_process_is_ended_as_soon_as_it_is_begun(tmp_path: Path):
    process = supervise(tmp_path, "/bin/sleep", "60")
    process.end(grace=1)
    assert process.status == -15
    assert (tmp_path / "log").read_text() == ""
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("status", "words"), [(3, "exit status 3"), (-11, "killed by SIGSEGV"), (-99, "killed by signal 99")]
)
def test_a_status_in_words(status: int, words: str):
    assert describe_status(status) == words
