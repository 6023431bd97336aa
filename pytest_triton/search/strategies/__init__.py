"""Strategies: how much each candidate of a search is measured. One file each, behind ``base.Strategy``."""

from pytest_triton.search.strategies.base import Decision, Measure, Skip, Strategy
from pytest_triton.search.strategies.exhaustive import Exhaustive

__all__ = ["Decision", "Exhaustive", "Measure", "Skip", "Strategy"]
