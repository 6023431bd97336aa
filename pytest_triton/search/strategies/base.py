"""The Strategy protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_triton.search.selection import Result


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure the candidate for ``seconds`` and at least ``requests`` requests, at most ``limit`` seconds."""

    seconds: float
    requests: int
    limit: float


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not measure the candidate; ``reason`` goes into the table."""

    reason: str


Decision = Measure | Skip


class Strategy(Protocol):
    """Decides, one candidate after another, how much it is measured."""

    @property
    def name(self) -> str:
        """The name the user chooses it by."""

    def decide(self, results: Sequence[Result], *, elapsed: float) -> Decision:
        """Say what to do with the next candidate.

        ``results`` are those of the search so far, in order; ``elapsed`` seconds have gone into it.
        """
