"""What a process and all its descendants use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_triton.observation import ResourceUsage
from pytest_triton.server.gpu import GpuFigures

if TYPE_CHECKING:
    import psutil


def measure_usage(pid: int, gpu: GpuFigures) -> ResourceUsage:
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
    return ResourceUsage(
        rss=rss,
        cpu_seconds=cpu,
        gpu_memory=gpu.memory,
        gpu_memory_total=gpu.total,
        gpu_utilization=gpu.utilization,
        children=len(processes) - 1,
        at_ns=time.monotonic_ns(),
    )


def _memory(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
