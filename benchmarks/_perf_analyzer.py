"""Perf Analyzer as a peer: find or fetch its binary, run it, read what it reports.

The newest binary that runs with glibc 2.36 (Debian 12) lies in the Linux wheel of ``tritonclient==2.51.0``. It needs
``libb64`` (Debian: ``apt install libb64-0d``) and ``libcudart.so.12``, from the ``nvidia-cuda-runtime-cu12`` wheel.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

WHEELS = ("tritonclient==2.51.0", "nvidia-cuda-runtime-cu12")
_PARTS = ("/bin/perf_analyzer", "/libcudart.so.12")


@dataclass(frozen=True)
class Report:
    """One run: ``throughput`` per second, mean ``latency`` and the process's ``cpu_seconds``, start-up included."""

    throughput: float
    latency: float
    cpu_seconds: float


class PerfAnalyzer:
    """The binary at ``program``, with ``libraries`` in front of ``LD_LIBRARY_PATH``."""

    def __init__(self, program: Path, libraries: Path | None = None) -> None:
        self.program = program
        self.environment = dict(os.environ)
        if libraries is not None:
            paths = [str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]
            self.environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
        self.version = self._run(["--version"], timeout=30).strip() or "unknown version"

    def measure(
        self,
        address: str,
        model: str,
        *,
        concurrency: int,
        shape: str,
        seconds: float,
        protocol: str = "http",
        asynchronous: bool = False,
    ) -> Report:
        """Load ``model`` at ``address`` with ``concurrency`` and random data for about ``seconds``.

        Three windows are measured, whatever their spread: its own judgement of stability is turned off.
        """
        before = _children_cpu()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.csv"
            words = ["-m", model, "-u", address, "-i", protocol, "--input-data", "random", "--shape", shape]
            words += ["--concurrency-range", str(concurrency), "--max-threads", "16", "-f", str(report)]
            words += ["--measurement-interval", str(int(seconds * 1000 / 3)), "--max-trials", "3", "-s", "999"]
            words += ["--async"] if asynchronous else []
            # With many threads on a quick model its exit alone can take half a minute.
            self._run(words, timeout=seconds * 4 + 120)
            (row,) = csv.DictReader(report.open())
        # Over gRPC it does not tell sending and receiving from the network.
        parts: tuple[str, ...] = ("Client Send", "Network+Server Send/Recv", "Server Queue", "Server Compute Input")
        parts += ("Server Compute Infer", "Server Compute Output", "Client Recv")
        microseconds = sum(float(row[part]) for part in parts if part in row)
        return Report(float(row["Inferences/Second"]), microseconds / 1e6, _children_cpu() - before)

    def time_by_default(self, address: str, model: str, *, concurrency: int, shape: str, percentile: int) -> float:
        """Return the seconds a run with its defaults takes: until three windows of 5 s lie within 10 %, at most ten."""
        began = time.monotonic()
        words = ["-m", model, "-u", address, "-i", "http", "--input-data", "random", "--shape", shape]
        words += ["--concurrency-range", str(concurrency), "--percentile", str(percentile)]
        self._run(words, timeout=180)
        return time.monotonic() - began

    def _run(self, words: list[str], *, timeout: float) -> str:
        ran = subprocess.run(
            [str(self.program), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if "error while loading shared libraries" in ran.stderr:
            raise SystemExit(f"perf_analyzer does not start: {ran.stderr.strip()}\n{__doc__}")
        if ran.returncode:
            raise SystemExit(f"perf_analyzer ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout + (ran.stderr if "--version" in words else "")


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fetch(cache: Path) -> PerfAnalyzer:
    """Return Perf Analyzer out of ``cache``, downloaded with pip the first time."""
    cache.mkdir(parents=True, exist_ok=True)
    program, library = cache / "perf_analyzer", cache / "libcudart.so.12"
    if not (program.exists() and library.exists()):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(cache)]
        # Wheels that lie in the folder already are not downloaded again.
        subprocess.run([*pip, "--find-links", str(cache), *WHEELS], check=True, stdout=subprocess.DEVNULL)
        for wheel in cache.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(_PARTS):
                        (cache / Path(name).name).write_bytes(archive.read(name))
        program.chmod(0o755)
    return PerfAnalyzer(program, cache)
