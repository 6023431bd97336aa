"""Start to ready: the embedded server on an empty repository, through the ``triton_server`` fixture.

    python benchmarks/startup.py

Each round is a pytest session of its own, in a process of its own; what is timed is the set-up of the fixture: finding
the installation, checking it, starting ``tritonserver`` and waiting until it is ready. Its stop is timed, too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 10
CONFTEST = """
import json, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    began = time.perf_counter()
    result = yield
    if fixturedef.argname == "triton_server":
        print("TIMES", json.dumps({"ready": time.perf_counter() - began}))
    return result

def pytest_configure(config):
    from pytest_triton import EmbeddedServer
    stop = EmbeddedServer.stop

    def timed(self):
        began = time.perf_counter()
        stop(self)
        print("TIMES", json.dumps({"stopped": time.perf_counter() - began}))

    EmbeddedServer.stop = timed
"""
TEST = "def test_ready(triton_server):\n    assert triton_server.control.server_ready()\n"


def run_session(folder: Path) -> dict[str, float]:
    """Run one session; return seconds by what they were spent on."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--triton-server=embedded"]
    command += [f"--triton-repository={folder / 'models'}", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    times: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if "TIMES" in line:
            times.update(json.loads(line.partition("TIMES ")[2]))
    return times


def main() -> None:
    """Print the median and the range of both times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_ready.py").write_text(TEST)
        run_session(folder)
        rounds = [run_session(folder) for _ in range(ROUNDS)]
    for what in ("ready", "stopped"):
        values = sorted(times[what] for times in rounds)
        median = statistics.median(values)
        print(f"{what}: median {median:.3f} s, from {values[0]:.3f} s to {values[-1]:.3f} s, {ROUNDS} rounds")


if __name__ == "__main__":
    main()
