"""What a container uses, by the figures that ``docker stats`` shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pytest_triton.observation import ResourceUsage
from pytest_triton.server.docker.engine import Engine

FIRST_WITHIN = 3.0
_FILE_CACHE = ("total_inactive_file", "inactive_file")
"""What the kernel may drop, by the names of its first and second version of control groups."""


class UsageStream:
    """The figures of a container, which the engine tells once a second until it ends: asking for one takes as long."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._latest = ResourceUsage()
        self._begun = threading.Event()
        threading.Thread(target=self._follow, name=f"{container}-usage", daemon=True).start()

    def read(self) -> ResourceUsage:
        """Return the newest figures, with when they came: CPU time and memory without the file cache.

        What is not told is None.
        """
        self._begun.wait(FIRST_WITHIN)
        return self._latest

    def _follow(self) -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        # Whoever closes the connections ends it, as the end of the container does.
        with suppress(DockerException, RequestException, HTTPError, OSError, ValueError):
            for stats in self._engine.client.api.stats(self._container, stream=True, decode=True):
                self._latest = read_stats(stats, time.monotonic_ns())
                self._begun.set()
        self._begun.set()


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
