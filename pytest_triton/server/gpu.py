"""GPU figures out of Triton's Prometheus metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = re.compile(
    r"^(nv_gpu_memory_used_bytes|nv_gpu_memory_total_bytes|nv_gpu_utilization)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """What the GPUs that the server sees are doing, whoever uses them. None where there is no GPU.

    ``memory`` is what is in use and ``total`` what there is, in bytes, summed over the GPUs; ``utilization`` is a
    fraction of 1, the mean over the GPUs.
    """

    memory: int | None = None
    utilization: float | None = None
    total: int | None = None


def read_gpu_figures(metrics: str) -> GpuFigures:
    """Read the figures out of the text of Triton's metrics endpoint."""
    found: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(metrics):
        found.setdefault(name, []).append(float(value))
    used, total = found.get("nv_gpu_memory_used_bytes"), found.get("nv_gpu_memory_total_bytes")
    utilization = found.get("nv_gpu_utilization")
    return GpuFigures(
        memory=int(sum(used)) if used else None,
        utilization=sum(utilization) / len(utilization) if utilization else None,
        total=int(sum(total)) if total else None,
    )
