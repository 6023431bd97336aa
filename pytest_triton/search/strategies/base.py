"""The Strategy protocol: how much each candidate of a search is measured, and at which loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_triton.case import Case, Load
from pytest_triton.search.probed import Probed
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.settings import Settings


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one probe measures: at least ``seconds`` and ``requests`` requests, at most ``limit`` seconds.

    Before that it warms up for ``warmup`` seconds, and until every connection has had an answer.
    """

    seconds: float
    requests: int
    limit: float
    warmup: float = 0.2


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate whose turn it is, with what is known so far.

    ``case`` has its load as it was declared, a concurrency or a rate of ``"auto"`` among it; ``loads`` are all that
    were declared for the same configuration. ``results`` are those of the candidates before, in the order they were
    tried, ``siblings`` those of them that are the same configuration at another load.
    ``elapsed`` seconds have gone into the search, ``left`` candidates are still to come, this one included.
    ``instances``, ``max_batch_size``, ``batching`` (whether requests are batched dynamically) and ``queue_delay`` (the
    longest, in seconds, that the batcher holds one back) are what the configuration asks for before it is ``deployed``,
    and what the server made of it from then on.
    """

    id: str
    case: Case
    settings: Settings
    results: Sequence[Result] = ()
    siblings: Sequence[Result] = ()
    probes: Sequence[Probed] = ()
    loads: Sequence[Load] = ()
    elapsed: float = 0.0
    left: int = 1
    instances: int = 1
    max_batch_size: int = 0
    batching: bool = False
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
        """Say what to do next with the candidate.

        Asked before it is deployed, when a ``Probe`` means that it is worth deploying, and again after that and after
        every probe.
        """
