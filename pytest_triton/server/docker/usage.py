"""What a container uses, by the figures that ``docker stats`` shows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pytest_triton.observation import ResourceUsage
from pytest_triton.server.docker.engine import Engine

_FILE_CACHE = ("total_inactive_file", "inactive_file")
"""What the kernel may drop, by the names of its first and second version of control groups."""


def measure_usage(engine: Engine, container: str) -> ResourceUsage:
    """Return the CPU time of a container since it began, and the memory it uses without the file cache.

    An engine answers once a second, and what it does not tell soon is None.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        stats = engine.client.api.stats(container, stream=False, one_shot=True)
    except (DockerException, RequestException, OSError):
        return ResourceUsage(at_ns=time.monotonic_ns())
    return read_stats(stats, time.monotonic_ns())


def read_stats(stats: Mapping[str, Any], at_ns: int) -> ResourceUsage:
    """Read the figures out of the engine's answer. A container that has ended has none."""
    memory = stats.get("memory_stats") or {}
    all_cpu = stats.get("cpu_stats") or {}
    cpu, quota = all_cpu.get("cpu_usage") or {}, all_cpu.get("throttling_data") or {}
    used, details = memory.get("usage"), memory.get("stats") or {}
    cache = next((int(details[name]) for name in _FILE_CACHE if name in details), 0)
    return ResourceUsage(
        rss=max(0, int(used) - cache) if used else None,
        cpu_seconds=int(cpu["total_usage"]) / 1e9 if cpu.get("total_usage") else None,
        at_ns=at_ns,
        quota_periods=quota.get("periods") or None,
        throttled_periods=quota.get("throttled_periods") if quota.get("periods") else None,
    )
