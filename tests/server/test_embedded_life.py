"""An embedded server's start and end: what it needs, and that nothing of it is left."""

import errno
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from leftovers import family, name_of, things_of, wait_for_end
from python_models import write_model
from serving import serve

from pytest_triton.errors import OptionError, RepositoryError, ServerDied, ServerStartError
from pytest_triton.server import EmbeddedServer, arguments
from pytest_triton.server.log import read_tail
from pytest_triton.server.ports import choose_ports

SERVE = """
    import os, sys, time
    from pathlib import Path
    from pytest_triton.server import EmbeddedServer

    server = EmbeddedServer(Path(sys.argv[1]), output=Path(sys.argv[2]))
    server.start()
    server.control.load("identity")
"""
TELL = SERVE + "    print(server.pid, flush=True)\n"
RunScript = Callable[..., "subprocess.Popen[str]"]


def first_number(process: "subprocess.Popen[str]") -> int:
    """Read the number that the script prints first."""
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture
def serving(python_models: Path, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that has loaded ``identity`` and that the test may end as it likes."""
    with serve(python_models, tmp_path, "identity") as server:
        yield server


def test_stop_leaves_nothing(serving: EmbeddedServer, tmp_path: Path):
    assert serving.pid is not None
    processes, name = family(serving.pid), name_of(serving.pid)
    assert len(processes) > 1
    assert {thing.parent for thing in things_of(name)} == {Path("/dev/shm"), Path(tempfile.gettempdir())}
    serving.stop()
    assert wait_for_end(processes, 0.5) == []
    assert things_of(name) == []
    # Its code says nothing of its end, and Triton would take a second for that.
    assert "successfully unloaded" not in (tmp_path / "server.log").read_text()
    serving.stop()


def test_a_model_that_finalizes_is_unloaded_before_the_end(tmp_path: Path):
    write_model(tmp_path / "repository", "final")
    code = tmp_path / "repository" / "final" / "1" / "model.py"
    code.write_text(code.read_text() + "\n    def finalize(self):\n        print('the end of it', flush=True)\n")
    with serve(tmp_path / "repository", tmp_path, "final"):
        pass
    log = (tmp_path / "server.log").read_text()
    assert "the end of it" in log
    assert "successfully unloaded 'final'" in log


def test_nothing_survives_kill_9_of_the_parent(python_models: Path, tmp_path: Path, run_script: RunScript):
    parent = run_script(TELL + "    time.sleep(60)\n", str(python_models), str(tmp_path))
    pid = first_number(parent)
    supervisor = psutil.Process(pid).parent()
    assert supervisor is not None
    processes, name = [supervisor, *family(pid)], name_of(pid)
    parent.kill()
    assert wait_for_end(processes, 5) == []
    assert things_of(name) == []


def test_nothing_survives_kill_9_of_the_supervisor(serving: EmbeddedServer):
    assert serving.pid is not None
    processes, name = family(serving.pid), name_of(serving.pid)
    psutil.Process(processes[0].ppid()).kill()
    assert wait_for_end(processes, 5) == []
    with pytest.raises(ServerDied, match="SIGKILL"):
        serving.check()
    serving.stop()
    assert things_of(name) == []


def test_what_kill_9_of_parent_and_supervisor_leaves_is_gone_with_the_next_start(
    python_models: Path, tmp_path: Path, run_script: RunScript
):
    parent = run_script(TELL + "    time.sleep(60)\n", str(python_models), str(tmp_path))
    pid = first_number(parent)
    supervisor = psutil.Process(pid).parent()
    assert supervisor is not None
    processes, name = family(pid), name_of(pid)
    supervisor.suspend()
    parent.kill()
    supervisor.kill()
    assert wait_for_end(processes, 5) == []
    assert {thing.parent for thing in things_of(name)} == {Path("/dev/shm"), Path(tempfile.gettempdir())}
    with serve(python_models, tmp_path / "next"):
        assert things_of(name) == []


def test_nothing_survives_when_a_fork_of_the_parent_does(python_models: Path, tmp_path: Path, run_script: RunScript):
    # The fork holds the pipe to the supervisor open, as a worker of multiprocessing would.
    parent = run_script(
        TELL + "    fork = os.fork()\n    print(fork, flush=True) if fork else None\n    time.sleep(60)\n",
        str(python_models),
        str(tmp_path),
    )
    pid = first_number(parent)
    fork = first_number(parent)
    processes = family(pid)
    parent.kill()
    try:
        assert wait_for_end(processes, 5) == []
    finally:
        os.kill(fork, signal.SIGKILL)


def test_ctrl_c_reaches_the_parent_and_not_the_server(python_models: Path, tmp_path: Path, run_script: RunScript):
    parent = run_script(
        SERVE
        + """
    try:
        print(server.pid, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.3)
        server.check()
        print(server.control.server_ready(), flush=True)
        server.stop()
    """,
        str(python_models),
        str(tmp_path),
    )
    processes = family(first_number(parent))
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "True\n"
    assert parent.wait(10) == 0
    assert wait_for_end(processes, 0.5) == []


def test_a_server_that_died_is_told(serving: EmbeddedServer):
    assert serving.pid is not None
    processes = family(serving.pid)
    os.kill(serving.pid, signal.SIGKILL)
    assert wait_for_end(processes, 5) == []
    with pytest.raises(ServerDied, match="killed by SIGKILL"):
        serving.control.load("identity")
    with pytest.raises(ServerDied, match="killed by SIGKILL"):
        serving.check()


def test_the_log_of_a_server_that_died_outlives_the_next_server(
    serving: EmbeddedServer, python_models: Path, tmp_path: Path
):
    assert serving.pid is not None
    name = name_of(serving.pid)
    os.kill(serving.pid, signal.SIGKILL)
    with pytest.raises(ServerDied) as caught:
        serving.control.load("identity")
    assert str(serving.log) in caught.value.hint
    serving.stop()
    with serve(python_models, tmp_path) as another:
        assert another.pid is not None
        parts = another.log.read_text().split("=== pytest-triton: the embedded server ")[1:]
        assert [part[: len(name)] for part in parts] == [name, name_of(another.pid)]
        assert "successfully loaded 'identity'" in parts[0]
        assert "loaded" not in "".join(read_tail(another.log))


def test_taken_port_is_named_with_its_holder(python_models: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedServer(python_models, output=tmp_path, arguments=[f"--http-port={port}"])
        with pytest.raises(ServerStartError, match=rf"port {port} is taken by .*pid {os.getpid()}") as caught:
            server.start()
    assert f"drop --http-port={port}" in caught.value.hint


def test_chosen_port_is_used(python_models: Path, tmp_path: Path):
    http, grpc = choose_ports(2)
    user = [f"--http-port={http}", "--grpc-port", str(grpc), "--allow-metrics=false"]
    server = EmbeddedServer(python_models, output=tmp_path, arguments=user)
    server.start()
    try:
        assert server.endpoints.http == f"127.0.0.1:{http}"
        assert server.endpoints.grpc == f"127.0.0.1:{grpc}"
        assert server.endpoints.metrics is None
        with socket.create_connection(("127.0.0.1", grpc), timeout=5):
            pass
    finally:
        server.stop()


@pytest.mark.parametrize("which", range(3), ids=["http", "grpc", "metrics"])
def test_other_ports_are_tried_when_one_was_taken_meanwhile(
    which: int, python_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = choose_ports(3)
        lost[which] = taken.getsockname()[1]
        answers = iter([lost])
        monkeypatch.setattr(arguments, "choose_ports", lambda count, host: next(answers, None) or choose_ports(count))
        server = EmbeddedServer(python_models, output=tmp_path)
        server.start()
        try:
            assert str(lost[which]) not in str(server.endpoints)
            assert server.control.server_ready()
        finally:
            server.stop()


def test_a_server_that_does_not_start_shows_its_log(python_models: Path, tmp_path: Path):
    server = EmbeddedServer(python_models, output=tmp_path, arguments=["--no-such-argument=1"])
    with pytest.raises(ServerStartError, match="ended before it was ready") as caught:
        server.start()
    assert any("no-such-argument" in line for line in caught.value.details)


def test_impossible_arguments_and_repositories_are_refused(python_models: Path, tmp_path: Path):
    with pytest.raises(OptionError, match="model-control-mode"):
        EmbeddedServer(python_models, output=tmp_path, arguments=["--model-control-mode=none"]).start()
    with pytest.raises(RepositoryError, match="no model repository"):
        EmbeddedServer(tmp_path / "nowhere", output=tmp_path).start()


def test_an_output_folder_that_cannot_be_written_is_told(python_models: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ServerStartError, match="no place to write to") as caught:
        EmbeddedServer(python_models, output=tmp_path / "file" / "output").start()
    assert "--triton-output" in caught.value.hint


def test_a_full_disk_for_temporary_files_is_told(python_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(source: Path, copy: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(ServerStartError, match=r"no place to write to: .*No space left") as caught:
        EmbeddedServer(python_models, output=tmp_path / "output").start()
    assert "TMPDIR" in caught.value.hint
    assert list(tmp_path.glob("pytest-triton-*")) == []


def test_the_repository_is_not_written_to(embedded_server: EmbeddedServer, python_models: Path):
    assert embedded_server.control.model_ready("identity")
    assert list(python_models.rglob("__pycache__")) == []


def test_usage_counts_the_stubs(embedded_server: EmbeddedServer):
    usage = embedded_server.usage()
    assert usage.rss is not None
    assert usage.rss > 20 * 2**20
    assert usage.cpu_seconds is not None
    assert embedded_server.pid is not None
    assert usage.cpu_seconds >= psutil.Process(embedded_server.pid).cpu_times().user
