"""GPU figures out of Triton's Prometheus metrics."""

from __future__ import annotations

import math
import re
import time

from pytest_triton.observation import GpuFigures, add_up_figures

_SAMPLE = re.compile(
    r"^(nv_gpu_memory_used_bytes|nv_gpu_memory_total_bytes|nv_gpu_utilization|nv_gpu_power_usage|nv_energy_consumption)"
    r'\{(?:[^}]*,)?gpu_uuid="([^"]*)"[^}]*\}\s+(\S+)',
    re.MULTILINE,
)


def read_gpu_figures(metrics: str) -> GpuFigures:
    """Read the figures of all GPUs that the server sees out of the text of its metrics endpoint.

    Triton refreshes them at its metrics interval; its energy counts from its own start.
    """
    found: dict[str, dict[str, float]] = {}
    for name, uuid, value in _SAMPLE.findall(metrics):
        number = _number(value)
        if number is not None:
            found.setdefault(uuid, {})[name] = number
    now = time.monotonic_ns()
    return add_up_figures([_figures(gpu, now) for gpu in found.values()])


def _figures(gpu: dict[str, float], at_ns: int) -> GpuFigures:
    used, total = gpu.get("nv_gpu_memory_used_bytes"), gpu.get("nv_gpu_memory_total_bytes")
    return GpuFigures(
        memory=int(used) if used is not None else None,
        total=int(total) if total is not None else None,
        utilization=gpu.get("nv_gpu_utilization"),
        power=gpu.get("nv_gpu_power_usage"),
        energy=gpu.get("nv_energy_consumption"),
        at_ns=at_ns,
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
