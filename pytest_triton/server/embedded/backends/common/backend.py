"""What a backend must say of itself: how a model is completed, opened and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .batching import Array

Config = Mapping[str, Any]
"""The JSON form of a ``ModelConfig``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance runs: its model's version folder, its kind (``CPU``, ``GPU``, ``MODEL``) and device."""

    version: Path
    kind: str
    device: int


class Network(Protocol):
    """A model that is open in one instance.

    BF16 tensors are arrays of uint16 with the raw bits; a string is ``bytes`` on the way in.
    """

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs for all of a batch. What is returned belongs to the caller."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A network with what running it may raise, and what the log should say of how it was opened."""

    network: Network
    errors: tuple[type[Exception], ...] = (RuntimeError, TypeError, ValueError)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completed:
    """A completed configuration, and what the log should say of it."""

    config: dict[str, Any]
    warnings: tuple[str, ...] = ()


class Backend(Protocol):
    """How the models of one backend are completed and opened. Both raise ``RefusalError``."""

    @property
    def name(self) -> str:
        """The backend's name, as config.pbtxt has it."""

    def needs_completion(self, config: Config) -> bool:
        """Tell whether ``complete`` may change anything; reading a model takes its time."""

    def complete(self, config: Config, model_dir: str, settings: Mapping[str, str]) -> Completed:
        """Fill in what config.pbtxt leaves out. ``settings`` are the backend's, from the server's command line."""

    def open(self, config: Config, place: Place, settings: Mapping[str, str]) -> Opened:
        """Check a complete configuration, and open its model for one instance."""
