"""GPU figures out of Triton's Prometheus metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = re.compile(r"^(nv_gpu_memory_used_bytes|nv_gpu_utilization)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """What the GPUs that the server sees are doing, whoever uses them. None where there is no GPU.

    ``memory`` is in bytes, summed over the GPUs; ``utilization`` is a fraction of 1, the mean over the GPUs.
    """

    memory: int | None = None
    utilization: float | None = None


def read_gpu_figures(metrics: str) -> GpuFigures:
    """Read the figures out of the text of Triton's metrics endpoint."""
    memory: list[float] = []
    utilization: list[float] = []
    for name, value in _SAMPLE.findall(metrics):
        (memory if name == "nv_gpu_memory_used_bytes" else utilization).append(float(value))
    return GpuFigures(
        memory=int(sum(memory)) if memory else None,
        utilization=sum(utilization) / len(utilization) if utilization else None,
    )
