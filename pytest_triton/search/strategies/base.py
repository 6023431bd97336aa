"""The Strategy protocol: how much each candidate of a search is measured, and at which loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_triton.case import Case, Load
from pytest_triton.metrics import Estimate
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.settings import Settings


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one probe measures: at least ``seconds`` and ``requests`` requests, at most ``limit`` seconds.

    Before that it warms up for ``warmup`` seconds.
    """

    seconds: float
    requests: int
    limit: float
    warmup: float = 0.3


@dataclass(frozen=True, slots=True)
class Probed:
    """One load at which a candidate was measured, and what came of it.

    ``verdict`` is what its SLO says of it: PASS, FAIL, INCONCLUSIVE or ERROR.
    """

    load: Load
    metrics: Mapping[str, Estimate]
    verdict: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate whose turn it is, with what is known so far.

    ``case`` has its load as it was declared, a concurrency or a rate of ``"auto"`` among it. ``results`` are those of
    the candidates before, in the order they were tried. ``elapsed`` seconds have gone into the search, ``left``
    candidates are still to come, this one included. Before it is deployed ``instances`` and ``max_batch_size`` are 0;
    ``queue_delay`` is the longest, in seconds, that its batcher holds a request back.
    """

    id: str
    case: Case
    settings: Settings
    results: Sequence[Result] = ()
    probes: Sequence[Probed] = ()
    elapsed: float = 0.0
    left: int = 1
    instances: int = 0
    max_batch_size: int = 0
    queue_delay: float = 0.0
    deployed: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Measure the candidate at ``load``, whose concurrency and rate are numbers."""

    load: Load
    effort: Effort


@dataclass(frozen=True, slots=True)
class Drop:
    """Measure the candidate no further; ``reason`` goes into the table."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Keep:
    """The candidate has been measured enough; ``probe`` of its probes, by its place, stands for it."""

    probe: int = -1
    status: Status = field(default=Status.MEASURED)
    reason: str = ""


Step = Probe | Drop | Keep


class Strategy(Protocol):
    """Decides, one candidate after another, how much of it is measured."""

    @property
    def name(self) -> str:
        """The name the user chooses it by."""

    def step(self, trial: Trial) -> Step:
        """Say what to do next with the candidate. Asked before it is deployed, and again after every probe."""
