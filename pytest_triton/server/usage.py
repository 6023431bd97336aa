"""What a process and all its descendants use."""

from __future__ import annotations

import time

from pytest_triton.observation import ResourceUsage
from pytest_triton.server.gpu import GpuFigures


def measure_usage(pid: int, gpu: GpuFigures) -> ResourceUsage:
    """Add up what the processes from ``pid`` down use: memory, and CPU time since they began.

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
                memory = process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        rss += memory
        cpu += times.user + times.system + times.children_user + times.children_system
    return ResourceUsage(
        rss=rss,
        cpu_seconds=cpu,
        gpu_memory=gpu.memory,
        gpu_utilization=gpu.utilization,
        at_ns=time.monotonic_ns(),
    )
