"""The control groups of a container: where the kernel counts what it uses, to be read at once if they can be seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.observation import ResourceUsage

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_GUARD_PROCESSES = 3
"""The shell, the one of its that waits for the end of the input, and ``tritonserver``."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The folders of a container's groups, which are one and the same in version 2 of them."""

    cpu: Path
    accounting: Path
    memory: Path

    def read(self) -> ResourceUsage:
        """Return what the container uses at this moment; what cannot be read is None."""
        counts, memory = _read_pairs(self.cpu / "cpu.stat"), _read_pairs(self.memory / "memory.stat")
        periods = counts.get("nr_periods", 0)
        nanoseconds = _read_number(self.accounting / "cpuacct.usage")
        if nanoseconds is None and "usage_usec" in counts:
            nanoseconds = counts["usage_usec"] * 1000
        used = _read_number(self.memory / "memory.current")
        if used is None:
            used = _read_number(self.memory / "memory.usage_in_bytes")
        cache = memory.get("total_inactive_file", memory.get("inactive_file", 0))
        processes = _read_text(self.memory / "cgroup.procs").split()
        return ResourceUsage(
            rss=max(0, used - cache) if used is not None else None,
            cpu_seconds=nanoseconds / 1e9 if nanoseconds is not None else None,
            children=max(0, len(processes) - _GUARD_PROCESSES) if processes else None,
            at_ns=time.monotonic_ns(),
            quota_periods=periods or None,
            throttled_periods=counts.get("nr_throttled", 0) if periods else None,
        )


def find_groups(pid: int, container: str, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Groups | None:
    """Return the groups of the process ``pid`` by the engine's count; None unless they bear the ``container``'s id.

    From inside another container, and of an engine in a virtual machine, another process has that id, or none.
    """
    found: dict[str, Path] = {}
    for line in _read_text(proc / str(pid) / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if container not in path:
            continue
        for name in controllers.split(",") if controllers else ("cpu", "cpuacct", "memory"):
            mounts = (controllers, name) if controllers else ("",)
            there = (cgroups / mount / path.lstrip("/") for mount in mounts)
            folder = next((each for each in there if each.is_dir()), None)
            # Where both versions are there, the first is the one that counts.
            if folder is not None and (controllers or name not in found):
                found[name] = folder
    if not {"cpu", "cpuacct", "memory"} <= found.keys():
        return None
    return Groups(found["cpu"], found["cpuacct"], found["memory"])


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _read_number(path: Path) -> int | None:
    text = _read_text(path).strip()
    return int(text) if text.isdecimal() else None


def _read_pairs(path: Path) -> Mapping[str, int]:
    pairs = (line.split() for line in _read_text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
