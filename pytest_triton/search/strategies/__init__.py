"""Strategies: how much each candidate of a search is measured. One file each, behind ``base.Strategy``."""

from pytest_triton.search.probed import Probed
from pytest_triton.search.strategies.base import Drop, Effort, Keep, Probe, Step, Strategy, Trial

__all__ = ["Drop", "Effort", "Keep", "Probe", "Probed", "Step", "Strategy", "Trial"]
