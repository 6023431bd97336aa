"""How long a server takes to start, to stop and to change, by its kind, and whether anything is left of it.

    python benchmarks/lifecycle.py [--parts start,switch,rounds,loads] [--image IMAGE] [--rounds 100] [--loads 500]

- *start*: start to ready and stop of each kind of server, on a repository of tiny Python models, with one loaded and
  with none. *local* is the embedded server's binary, put where a ``tritonserver`` is installed; *docker* takes an
  engine and ``--image``; *remote* is a running server that is connected to.
- *switch*: what ``switching.py`` measures, of the tiny models.
- *rounds*: start, load, stop, again and again; *loads*: load and unload on one server, of eight models at a time. What
  there is of processes, shared memory, file descriptors and temporary files is counted before and after.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from switching import CONFIGURATION, PYTHON

from pytest_triton.errors import PytestTritonError
from pytest_triton.owner import Owner
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.base import Server
from pytest_triton.server.choice import choose
from pytest_triton.server.embedded.backend_directory import make_backend_directory
from pytest_triton.server.embedded.installation import find_installation
from pytest_triton.server.remains import PREFIX
from pytest_triton.server.supervisor import MARK, SHARED_MEMORY

PARTS = ("start", "switch", "rounds", "loads")
MEDIAN_OF = 5
AT_A_TIME = 8
SETTLE_WITHIN = 10.0
COMPLETE = ("--disable-auto-complete-config",)
"""For models whose configurations lack nothing: completing them takes a second each."""

NAME = re.compile(rf"{PREFIX}[0-9a-f]{{10}}")
"""The name of a server of ours."""

Times = dict[str, list[float]]
Counts = dict[str, int]


def make_repository(folder: Path) -> Path:
    """Write eight tiny Python models into ``folder``."""
    for number in range(AT_A_TIME):
        model = folder / f"python{number}"
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(CONFIGURATION)
        (model / "1" / "model.py").write_text(PYTHON)
    return folder


def install_locally(prefix: Path) -> Path:
    """Put the embedded server's binary where a ``tritonserver`` is installed, its backends beside it; return it."""
    installation = find_installation(None)
    make_backend_directory(prefix / "backends", installation)
    environment = installation.environment()
    program = prefix / "bin" / "tritonserver"
    program.parent.mkdir()
    settings = [f"export {name}={shlex.quote(environment[name])}" for name in ("PATH", "LD_LIBRARY_PATH")]
    program.write_text("\n".join(["#!/bin/sh", *settings, f'exec {installation.tritonserver} "$@"', ""]))
    program.chmod(0o755)
    return program


@contextmanager
def kinds(folder: Path, image: str) -> Iterator[dict[str, Callable[[], Server]]]:
    """Give what makes a server of each kind that there is here."""
    repository = make_repository(folder / "models")
    local = str(install_locally(folder / "local"))
    made: dict[str, Callable[[], Server]] = {
        "embedded": lambda: choose("embedded", repository, output=folder / "embedded"),
        "local": lambda: choose("local", repository, output=folder / "output", program=local),
    }
    if image:
        from pytest_triton.server.docker.server import DockerServer

        made["docker"] = lambda: DockerServer(repository, output=folder / "docker", image=image)
    with ExitStack() as undo:
        running = EmbeddedServer(repository, output=folder / "running")
        running.start()
        undo.callback(running.stop)
        made["remote"] = lambda: choose(f"http://{running.endpoints.http}", None, output=folder)
        yield made


def time_one(make: Callable[[], Server], times: Times) -> None:
    """Start a server, load a model, stop it, and note what each took; then start and stop one without."""
    for loaded in (True, False):
        server = make()
        began = time.monotonic()
        try:
            server.start()
            times["start to ready"].append(time.monotonic() - began)
            if loaded:
                times["first load"].append(server.control.load("python0"))
                if server.kind == "remote":
                    server.control.unload("python0")
        finally:
            began = time.monotonic()
            server.stop()
        times["stop with the model" if loaded else "stop"].append(time.monotonic() - began)


def measure_starts(folder: Path, image: str) -> None:
    """Print the median times of each kind."""
    columns = ("start to ready", "first load", "stop", "stop with the model")
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    with kinds(folder, image) as made:
        for kind, make in made.items():
            times: Times = {column: [] for column in columns}
            try:
                for _ in range(MEDIAN_OF):
                    time_one(make, times)
            except PytestTritonError as error:
                print(f"| {kind} | {error.problem} |")
                continue
            cells = [f"{statistics.median(times[column]):.2f} s" for column in columns]
            print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def own_processes() -> list[psutil.Process]:
    """List the processes that have our folder for temporary files: all that began here, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == tempfile.gettempdir() and process.pid != os.getpid():
                found.append(process)
    return found


def count_blocks() -> int:
    """Count the blocks of shared memory, without those of servers that others run on this machine."""
    ours, others = {process.pid for process in own_processes()}, set[str]()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in ours:
                others.update(NAME.findall(" ".join(process.cmdline())))
    for mark in Path(SHARED_MEMORY).glob(f"*{MARK}"):
        with suppress(OSError):
            owner = Owner.read(mark.read_text(errors="replace").partition("\n")[0])
            if owner is not None and owner.pid != os.getpid() and not owner.is_gone():
                others.add(mark.stem)
    return sum(not path.name.startswith(tuple(others)) for path in Path(SHARED_MEMORY).iterdir())


def count() -> Counts:
    """Count what may be left: processes, their sockets, blocks of shared memory, files, and what this process has."""
    processes = own_processes()
    return {
        "processes": len(processes),
        "threads": psutil.Process().num_threads(),
        "file descriptors": psutil.Process().num_fds(),
        "blocks of shared memory": count_blocks(),
        "temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
        "listening sockets": sum(
            connection.status == psutil.CONN_LISTEN
            for process in processes
            for connection in process.net_connections("tcp")
        ),
    }


def count_server(pid: int) -> Counts:
    """Count what a server has: processes, descriptors, threads, memory in MiB."""
    server = psutil.Process(pid)
    return {
        "processes": len(server.children(recursive=True)),
        "threads": server.num_threads(),
        "file descriptors": server.num_fds(),
        "blocks of shared memory": count_blocks(),
        "resident memory, MiB": server.memory_info().rss >> 20,
    }


def settled(counted: Callable[[], Counts], before: Counts) -> Counts:
    """Count until there is no more than ``before``, for ten seconds at most: a model's process takes one to end."""
    deadline = time.monotonic() + SETTLE_WITHIN
    while True:
        counts = counted()
        if all(counts[what] <= number for what, number in before.items()) or time.monotonic() > deadline:
            return counts
        time.sleep(0.2)


def show(before: Counts, after: Counts, seconds: float) -> None:
    """Print what there was before and after."""
    print("| | before | after |\n|---|---|---|")
    for what, number in before.items():
        print(f"| {what} | {number} | {after[what]} |")
    print(f"\nThis took {seconds:.0f} s.", flush=True)


def run_rounds(folder: Path, rounds: int) -> None:
    """Start and stop an embedded server ``rounds`` times, each time with a model."""
    repository = make_repository(folder / "rounds")

    def one() -> None:
        server = EmbeddedServer(repository, output=folder, arguments=COMPLETE)
        try:
            server.start()
            server.control.load("python0")
        finally:
            server.stop()

    one()
    before, began = count(), time.monotonic()
    for _ in range(rounds):
        one()
    show(before, settled(count, before), time.monotonic() - began)


def run_loads(folder: Path, loads: int) -> None:
    """Load and unload models ``loads`` times on one embedded server."""
    server = EmbeddedServer(make_repository(folder / "loads"), output=folder, arguments=COMPLETE)
    names = [f"python{number}" for number in range(AT_A_TIME)]

    def one(name: str) -> None:
        server.control.load(name)
        server.control.unload(name)

    server.start()
    try:
        assert server.pid is not None
        pid = server.pid
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            # The first time, the server itself makes what it keeps.
            list(pool.map(one, names * 2))
            time.sleep(2)
            before, began = count_server(pid), time.monotonic()
            list(pool.map(one, (names[number % AT_A_TIME] for number in range(loads))))
            show(before, settled(lambda: count_server(pid), before), time.monotonic() - began)
    finally:
        server.stop()


def main() -> None:
    """Print a part after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--image", default="", help="image for the Docker server; without it there is none")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--loads", type=int, default=500)
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no parts: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        # Its own temporary files are counted, and nobody else's.
        tempfile.tempdir = os.environ["TMPDIR"] = str(Path(name) / "tmp")
        Path(tempfile.tempdir).mkdir()
        for part in parts:
            print(f"\n{part}\n", flush=True)
            folder = Path(name) / part
            folder.mkdir()
            if part == "start":
                measure_starts(folder, chosen.image)
            elif part == "switch":
                command = [sys.executable, str(Path(__file__).with_name("switching.py")), "--models", "onnx,python"]
                subprocess.run(command, check=True)
            elif part == "rounds":
                run_rounds(folder, chosen.rounds)
            else:
                run_loads(folder, chosen.loads)


if __name__ == "__main__":
    main()
