"""What a process and all its descendants use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.observation import ResourceUsage

if TYPE_CHECKING:
    import psutil


_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP = Path("/proc/self/cgroup")


def measure_usage(pid: int) -> ResourceUsage:
    """Add up what the processes from ``pid`` down use: memory, and CPU time since they began.

    Memory that they share (libraries, shared-memory blocks) is counted once, by the kernel's proportional set size: a
    sum of resident set sizes would count it once per instance. Asking takes milliseconds, more for large models.
    ``cpu_seconds`` includes descendants that have ended and were waited for, so that it never falls when a model's
    instance is removed. A process that ends while it is looked at counts with nothing.
    """
    import psutil

    rss = 0
    cpu = 0.0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return ResourceUsage(at_ns=time.monotonic_ns())
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory = _memory(process)
        except psutil.NoSuchProcess:
            continue
        rss += memory
        cpu += times.user + times.system + times.children_user + times.children_system
    periods, throttled = read_quota()
    return ResourceUsage(
        rss=rss,
        cpu_seconds=cpu,
        children=len(processes) - 1,
        at_ns=time.monotonic_ns(),
        quota_periods=periods,
        throttled_periods=throttled,
    )


def read_quota(cgroups: Path = _CGROUPS, own: Path = _CGROUP) -> tuple[int | None, int | None]:
    """Return how many periods of a CPU quota there were so far, and at the end of how many it was used up.

    It is that of the container, or the cgroup, that this process is in, as those are that it starts; None without one.
    """
    for stat in _statistics_files(cgroups, own):
        try:
            counts = dict(line.split(maxsplit=1) for line in stat.read_text(encoding="ascii").splitlines())
        except OSError:
            continue
        if int(counts.get("nr_periods", 0)) > 0:
            return int(counts["nr_periods"]), int(counts["nr_throttled"])
    return None, None


def _statistics_files(cgroups: Path, own: Path) -> Iterator[Path]:
    """Yield where the quota's statistics may be, in a container and outside of one, by version 2 of cgroups and 1."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield cgroups / path.lstrip("/") / "cpu.stat"
        elif "cpu" in controllers.split(","):
            yield from (cgroups / name / path.lstrip("/") / "cpu.stat" for name in (controllers, "cpu"))
    yield from (cgroups / "cpu.stat", cgroups / "cpu" / "cpu.stat")


def _memory(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
