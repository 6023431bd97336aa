"""Runs of pytest that end themselves with a signal at a certain stage, and what must hold of them afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from docker_engine import running_containers
from python_models import write_model

from pytest_triton.results.place import Place
from pytest_triton.results.store import Store

STAGES = ("collection", "start-up", "load", "measurement", "confirmation", "report")
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TIMEOUT = 120
GONE_WITHIN = 5
_NAME = re.compile(r"pytest-triton-[0-9a-f]{10}")

CONFTEST = """
import json, os, signal, threading
import pytest
from pathlib import Path
from pytest_triton.plugin.keys import STATE

STAGE, ENDING, CONFIG = os.environ["FAULT_STAGE"], int(os.environ["FAULT_ENDING"]), []


def strike(stage, *, after=0.0, **more):
    if stage == STAGE and not Path("struck.json").exists():
        records = CONFIG[0].stash[STATE].records if STATE in CONFIG[0].stash else []
        records = sum(not record.reused for record in records)
        Path("struck.json").write_text(json.dumps({"stage": stage, "records": records, **more}))
        threading.Timer(after, os.kill, (os.getpid(), ENDING)).start()


def striking(stage, function, *, after, within=""):
    def call(*arguments, **options):
        if within in os.environ["PYTEST_CURRENT_TEST"]:
            strike(stage, after=after)
        return function(*arguments, **options)

    return call


@pytest.fixture(scope="module")
def triton_server_args():
    return ["--disable-auto-complete-config"]


@pytest.fixture(autouse=True, scope="session")
def _confirmation_is_struck():
    from pytest_triton.plugin import searching

    searching.confirm = striking("confirmation", searching.confirm, after=0.2)


def pytest_configure(config):
    CONFIG.append(config)


def pytest_collection_modifyitems():
    strike("collection")


@pytest.hookimpl(wrapper=True)
def pytest_triton_make_server():
    server = yield
    start = striking("start-up", server.start, after=0.1)

    def start_and_wrap():
        start()
        server.control.load = striking("load", server.control.load, after=0.1)

    server.start = start_and_wrap
    return server


@pytest.hookimpl(wrapper=True)
def pytest_triton_make_engine():
    engine = yield
    engine.open = striking("measurement", engine.open, after=0.1, within="test_gate[c2]")
    return engine


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(exitstatus):
    strike("report", status=int(exitstatus))
"""
TESTS = """
import pytest


@pytest.mark.triton_load(concurrency=[1, 2])
def test_gate(triton_perf):
    triton_perf()


@pytest.mark.triton_load(concurrency=1)
@pytest.mark.triton_search({"max_batch_size": [4, 8]})
def test_search(triton_perf):
    triton_perf()
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit status, what it wrote, what it knew when it was ``struck``, what is left of it."""

    status: int
    text: str
    struck: dict[str, Any]
    left: list[str]


@dataclass(frozen=True, slots=True)
class Project:
    """A model with performance tests, in ``folder``, run with ``arguments``; ``tmp`` is for all temporary files."""

    folder: Path
    arguments: tuple[str, ...] = ()

    @property
    def tmp(self) -> Path:
        """The folder for temporary files, which no other run uses."""
        return self.folder / "tmp"

    def write(self) -> None:
        """Write the model and its tests."""
        self.tmp.mkdir(parents=True)
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        (self.folder / "conftest.py").write_text(CONFTEST)
        write_model(self.folder / "models", "identity", dims="[ 4 ]")
        (self.folder / "models" / "identity" / "test_identity.py").write_text(TESTS)

    def run(self, stage: str, ending: signal.Signals) -> Ended:
        """Run the tests; the process that comes to ``stage`` first gets ``ending``."""
        struck = self.folder / "struck.json"
        struck.unlink(missing_ok=True)
        environment = {**os.environ, "TMPDIR": str(self.tmp), "FAULT_STAGE": stage, "FAULT_ENDING": str(int(ending))}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--triton-smoke", *self.arguments]
        with (self.folder / "output.txt").open("w") as output:
            process = subprocess.Popen(
                [*command, "models"],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            status = process.wait(TIMEOUT)
        text = (self.folder / "output.txt").read_text()
        assert struck.exists(), f"{stage} was not reached:\n{text}"
        return Ended(status, text, json.loads(struck.read_text()), self.wait_for_end(process.pid))

    def end_at(self, stage: str, ending: signal.Signals) -> str:
        """Run the tests, which end with ``ending`` at ``stage``, and see what is left and what was kept.

        Returns what pytest wrote.
        """
        before = self.count_records()
        ended = self.run(stage, ending)
        where = f"{ending.name} at {stage}: {ended}"
        assert ended.left == [], where
        if ending is not signal.SIGINT:
            assert ended.status == -ending, where
        elif stage == "report":
            assert ended.status != 0, where
        else:
            assert ended.status == pytest.ExitCode.INTERRUPTED, where
        # What was finished when the signal came is kept, and nothing that was not.
        kept = self.count_records() - before
        assert ended.struck["records"] <= kept <= ended.struck["records"] + 1, f"{kept} records, {where}"
        if stage == "report":
            assert ended.struck["status"] == 0, where
        return ended.text

    def count_records(self) -> int:
        """Read all records of the model, which fails for half of one, and count them."""
        path = self.folder / ".triton" / "results.db"
        records = Store(Place(path=path)).history("identity", candidates=True, last=10_000) if path.exists() else []
        assert all(record.verdict == "PASS" and record.measurement for record in records)
        return len(records)

    def wait_for_end(self, pid: int) -> list[str]:
        """Wait until nothing of the run with that process id is there; return what still is when it should be gone."""
        log = self.folder / ".triton" / "server.log"
        names = set(_NAME.findall(log.read_text(errors="replace"))) if log.exists() else set()
        deadline = time.monotonic() + GONE_WITHIN
        while (left := self._left(pid, names)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _left(self, pid: int, names: set[str]) -> list[str]:
        blocks = {path.name: path for path in Path("/dev/shm").iterdir()}
        names = names | {name[:24] for name, path in blocks.items() if name.endswith(".owner") and _owner(path) == pid}
        left = [name for name in blocks if name[:24] in names]
        left += running_containers(pid)
        left += [path.name for path in self.tmp.iterdir() if _NAME.match(path.name) or path.name.startswith("tmp")]
        for process in psutil.process_iter():
            # What began with the run has its folder for temporary files.
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.tmp) and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(" ".join(process.cmdline())[:100])
        return left


def _owner(path: Path) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(path.read_text().split()[3])
    return 0
