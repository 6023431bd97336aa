"""Where something was measured: without it two records cannot be compared."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pytest_triton.results.revision import revision

_ROUND = 2**28
"""The same machine has a little more or less memory after an update of its kernel."""

_SHOWN = {
    "cpu": "CPU",
    "gpus": "GPUs",
    "driver": "GPU driver",
    "triton": "Triton",
    "python": "Python",
    "pytest_triton": "pytest-triton",
}


def fingerprint(directory: Path) -> dict[str, Any]:
    """Describe this machine and its versions, and the commit that ``directory`` is checked out at."""
    return {**machine(), **revision(directory)}


@cache
def machine() -> Mapping[str, Any]:
    """Describe this machine and the versions on it. ``memory`` is in bytes, in steps of 256 MiB."""
    from importlib.metadata import version

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _ROUND * _ROUND,
        **read_gpus(_ask_nvidia_smi()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pytest_triton": version("pytest-triton"),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say in words what two fingerprints differ in. What only one of them knows is no difference."""
    return [
        f"{_SHOWN.get(name, name)} {_show(before[name])} -> {_show(after[name])}"
        for name in before
        if name in after and before[name] != after[name]
    ]


def read_gpus(answer: str) -> dict[str, Any]:
    """Read what ``nvidia-smi`` said: ``gpus``, each as its name and memory, and the ``driver``; nothing without one."""
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.count(",") == 2]
    if not rows:
        return {}
    return {"gpus": [f"{name} {memory}" for name, memory, _ in rows], "driver": rows[0][2]}


def _ask_nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value / 2**30:.1f} GiB" if isinstance(value, int) and value > _ROUND else str(value)
