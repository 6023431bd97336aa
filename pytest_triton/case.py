"""Candidate, Load, Inputs and Case: what one test measures, with its stable key and readable id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_triton.slo import SLO

Value = None | bool | int | float | str | list[Any] | dict[str, Any]
"""A value of a ``ModelConfig`` field as JSON has it; None removes the field."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with a configuration patch: paths of ``ModelConfig`` fields set to values.

    An empty patch is the default configuration: the model as its repository has it.
    """

    model: str
    patch: Mapping[str, Value] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest that is the same in every process and every run for the same candidate."""
        return digest({"model": self.model, "patch": dict(self.patch)})


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are sent: closed loop, ``concurrency`` requests of ``batch_size`` in flight."""

    concurrency: int | Literal["auto"] = 1
    batch_size: int = 1
    protocol: Literal["http"] = "http"

    def as_dict(self) -> dict[str, int | str]:
        """Return the load as JSON has it."""
        return {"concurrency": self.concurrency, "batch_size": self.batch_size, "protocol": self.protocol}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the requests carry. Shapes are as in ``dims``: without the batch dimension if the model batches.

    ``data`` is None (random), a path to an ``.npz``, a callable ``(rng, inputs) -> {name: array}``, or a
    mapping from input name to an array, a scalar that fills it, or a ``(low, high)`` range to draw from.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data: Any = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """Candidate + load + inputs + SLO: what one test measures."""

    candidate: Candidate
    load: Load
    inputs: Inputs = field(default_factory=Inputs)
    slo: SLO = field(default_factory=SLO)

    @property
    def key(self) -> str:
        """A digest of candidate, load and input shapes: the same case in every run has the same key."""
        return digest(
            {
                "model": self.candidate.model,
                "patch": dict(self.candidate.patch),
                "load": self.load.as_dict(),
                "shapes": {name: list(shape) for name, shape in self.inputs.shapes.items()},
                "seed": self.inputs.seed,
            }
        )


def digest(value: Any) -> str:
    """Return 16 hex digits of SHA-256 over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
