"""What to know beside the figures of a measurement: something may have slowed the server down."""

from __future__ import annotations

from pytest_triton.measurement import Measurement

_USED_UP = 0.05
"""Share of the periods of a CPU quota that may be used up without a word."""


def remarks(measurement: Measurement) -> list[str]:
    """Say what may have slowed the server down: a throttled GPU, a CPU quota that was used up."""
    quota = measurement.metrics.get("cpu_throttled")
    if quota is None or quota.value <= _USED_UP:
        return list(measurement.cautions)
    told = f"the CPU quota was used up in {quota.value:.0%} of its periods, and the server waited for the next ones"
    return [*measurement.cautions, told]
