"""Whether a second copy of a model fits beside the first: Triton loads the new one before the old one goes."""

from __future__ import annotations

from pathlib import Path

from pytest_triton.observation import ResourceUsage

_SPARE = 0.9
"""The share of the available memory that a copy may take."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def is_short(usage: ResourceUsage, *, loaded: int, wanted: int) -> bool:
    """Say whether memory does not do for ``wanted`` instances beside the ``loaded`` ones of a server that uses so much.

    A new instance is taken to need as much as one of those that are there. Of memory on GPUs no more than half may be
    in use. False where nothing is known, as of a server elsewhere.
    """
    if usage.gpu_memory is not None and usage.gpu_memory_total and usage.gpu_memory > usage.gpu_memory_total / 2:
        return True
    return usage.rss is not None and usage.rss * wanted / max(loaded, 1) > _SPARE * available_memory()


def available_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> float:
    """Return the bytes of memory that processes started now may use: the machine's, or what a container may have.

    Infinite where the kernel says neither.
    """
    return min(_of_machine(meminfo), _of_container(cgroup))


def _of_machine(meminfo: Path) -> float:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def _of_container(cgroup: Path) -> float:
    """Return what the limit of a container (cgroup v2) leaves; pages of files that it can drop count as free."""
    limit = _lines(cgroup / "memory.max")
    used = _lines(cgroup / "memory.current")
    if not limit or not used or limit[0].strip() == "max":
        return float("inf")
    droppable = [line.split()[1] for line in _lines(cgroup / "memory.stat") if line.startswith("inactive_file ")]
    return float(limit[0]) - float(used[0]) + float(droppable[0] if droppable else 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
