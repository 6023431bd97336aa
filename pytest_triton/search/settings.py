"""How a search goes about it: everything that ``triton_search`` says but its axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_triton.search.objective import Objective

STRATEGIES = ("race", "exhaustive", "optuna")
SAMPLERS = ("tpe", "gp", "random")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one search.

    ``objectives`` has at least one; with several the first one leads where one must. ``trials`` is how many candidates
    ``optuna`` proposes, ``storage`` the URL or file of the study that several runs share. ``reference`` is what
    outputs are compared with: None for the default configuration, the path of an ONNX file, or a callable from the
    inputs by name to the outputs by name. ``tolerance`` maps a data type of Triton's (``FP32``) to the relative
    and absolute difference that is allowed. ``restart`` is ``"candidate"`` for a fresh server for each.
    ``unload_first`` unloads the model before its next configuration is loaded.
    """

    objectives: tuple[Objective, ...]
    strategy: Literal["race", "exhaustive", "optuna"] = "race"
    trials: int | None = None
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    storage: str | None = None
    seed: int = 0
    reference: Any = None
    tolerance: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unload_first: bool = False
    restart: Literal["needed", "candidate"] = "needed"

    @property
    def objective(self) -> Objective:
        """The objective that leads."""
        return self.objectives[0]
