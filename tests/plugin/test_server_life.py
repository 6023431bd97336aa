"""The server of a run: how long it lives, how long it may take to start, where it listens, how often it may die."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from python_models import write_model

from pytest_triton.results.place import Place
from pytest_triton.results.store import Store

SERVED = """
from pathlib import Path

def note(server):
    assert server.control.server_ready()
    with Path(PIDS).open("a") as file:
        file.write(f"{server.pid}\\n")

def test_first(triton_server):
    note(triton_server)

def test_second(triton_server, triton_client, triton_perf):
    assert triton_client.is_model_ready("identity")
    note(triton_server)
"""


@pytest.mark.parametrize(("scope", "pids"), [("session", "aaaa"), ("module", "aabb"), ("test", "abcd")])
def test_one_server_for_each_scope(run, repository, pytester, scope, pids):
    noted, log = pytester.path / "pids", pytester.path / ".triton" / "server.log"
    log.parent.mkdir()
    log.write_text("an earlier run")
    test = SERVED.replace("PIDS", repr(str(noted)))
    (repository / "identity" / "test_another.py").write_text(test)
    run(test, f"--triton-server-scope={scope}", str(repository)).assert_outcomes(passed=4)
    found = noted.read_text().split()
    assert [one == other for one, other in pairwise(found)] == [one == other for one, other in pairwise(pids)]
    assert "an earlier run" not in log.read_text()
    assert log.read_text().count("=== pytest-triton: the embedded server ") == len(set(pids))


CRASHES = """
@pytest.mark.triton_model("crashing")
@pytest.mark.triton_load(concurrency=[1, 2, 3, 4])
def test_crashing(triton_perf):
    triton_perf()
"""
CRASH = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"


def test_three_crashes_in_a_row_end_the_run(run, repository):
    write_model(repository, "crashing", execute=CRASH, dims="[ 4 ]")
    survives = "def test_first(triton_perf):\n    triton_perf()\n\n"
    last = CRASHES.replace("crashing(", "again(")
    result = run(CRASHES.replace("[1, 2, 3, 4]", "1") + survives + last, "--triton-smoke")
    result.assert_outcomes(errors=4, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*ServerDied: the embedded server died (killed by SIGKILL)",
            "*  | *",
            "!!* triton: the server has died 3 times in a row, so the run stops !!*",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_server_that_takes_too_long_to_start(run):
    result = run(SERVED, "--triton-start-timeout=1ms")
    result.stdout.fnmatch_lines(
        ["*ServerStartError: *server did not start: it was not ready after 0.001 s", "*--triton-start-timeout=TIME*"]
    )


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--triton-start-timeout=0s", "*leaves no time*"),
        ("--triton-bind=everywhere", "*--triton-bind=everywhere is no IPv4 address: 0.0.0.0 for all*"),
    ],
)
def test_impossible_options(run, option, told):
    result = run(SERVED, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


def test_an_address_that_is_not_this_machine_s(run):
    result = run("def test_it(triton_server):\n    pass\n", "--triton-bind=192.0.2.1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this machine cannot listen on 192.0.2.1*", "*0.0.0.0 for all of them*"])


def test_opened_to_the_network(run):
    result = run(
        """
import psutil

def test_open(triton_server, triton_perf):
    listening = [c.laddr.ip for c in psutil.Process(triton_server.pid).net_connections() if c.status == "LISTEN"]
    assert "0.0.0.0" in listening and set(listening) <= {"0.0.0.0", "::"}
    assert len(listening) >= 3
    assert triton_server.endpoints.http.startswith("127.0.0.1:")
    triton_perf()
""",
        "--triton-bind=0.0.0.0",
        "--triton-smoke",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["triton: *bind 0.0.0.0 (command line)*", "triton: whoever reaches 0.0.0.0 *"])


GATES = """
import os, pathlib, time
import pytest

@pytest.fixture(scope="module")
def triton_server_args():
    return ["--disable-auto-complete-config"]

@pytest.fixture(autouse=True, scope="module")
def _both_are_here():
    pathlib.Path(f"here-{os.getpid()}").touch()
    while len(list(pathlib.Path().glob("here-*"))) < 2:
        time.sleep(0.01)

@pytest.mark.triton_load(concurrency=[1, 2])
def test_it(triton_perf):
    triton_perf()
"""


def test_two_runs_at_once_never_measure_at_once(repository, pytester):
    (repository / "identity" / "test_identity.py").write_text(GATES)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--triton-smoke", "models"]
    runs = [pytester.popen(command, stdin=None, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for each in runs:
        output, _ = each.communicate(timeout=120)
        assert each.returncode == 0, output
    records = Store(Place(path=pytester.path / ".triton" / "results.db")).history("identity")
    spans = sorted((r.effort["began"], r.effort["began"] + r.effort["seconds"], r.run) for r in records)
    assert len(spans) == 4
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    # They took turns: whoever waits is next.
    assert sum(first[2] != second[2] for first, second in pairwise(spans)) > 1


ASLEEP = """
@pytest.mark.triton_model("asleep")
def test_asleep(triton_server, triton_perf):
    triton_server.control.request_timeout = 0.3
    triton_perf()

def test_awake(triton_perf):
    triton_perf()
"""


def test_a_model_that_never_answers_holds_nothing_up(run, repository, pytester):
    write_model(repository, "asleep", execute="import time; time.sleep(600)", dims="[ 4 ]")
    result = run(ASLEEP, "--triton-smoke")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*RequestError: asleep did not answer a request within 0.3 s", "*model_warmup*"])
    log = (pytester.path / ".triton" / "server.log").read_text()
    assert [line.partition("::")[2] for line in log.splitlines() if line.startswith("===")] == [
        "test_asleep (setup) ===",
        "test_awake (call) ===",
    ]
