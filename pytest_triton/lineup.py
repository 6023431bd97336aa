"""Several configurations of a model on one server: all loaded at once where that can be, else one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pytest_triton.case import Candidate
from pytest_triton.deployment import Deployer, Deployment
from pytest_triton.errors import ModelLoadError
from pytest_triton.room import available_memory

Deploy = Callable[[], Deployment]


@dataclass(frozen=True, slots=True)
class LineUp:
    """How each of several candidates is made the one that is served, in their order.

    Where they are loaded ``together``, that takes no time.
    """

    deploys: tuple[Deploy, ...]
    together: bool


def fits_together(deployer: Deployer, candidates: Sequence[Candidate], memory: float) -> bool:
    """Tell whether the candidates may be loaded beside each other; all of them take ``memory`` bytes.

    A server at an address has no second name for a model, and what a candidate wants of the server or of other models
    holds for all that is served. An ensemble's steps have one name each.
    """
    if any(candidate.server or any(candidate.composing.values()) for candidate in candidates):
        return False
    if deployer.default(candidates[0].model).ensemble_scheduling.step:
        return False
    return deployer.server.alias(candidates[0].model) is not None and memory < available_memory()


@contextmanager
def line_up(deployer: Deployer, candidates: Sequence[Candidate], *, together: bool) -> Iterator[LineUp]:
    """Load the candidates, the first under the model's own name; with the block, all but that one go.

    When the server refuses one beside the others, they are loaded one after the other.
    """
    in_turn = LineUp(tuple(partial(deployer.deploy, candidate) for candidate in candidates), together=False)
    if not together:
        yield in_turn
        return
    names = [_alias(deployer, candidate, number) for number, candidate in enumerate(candidates)]
    try:
        pairs = zip(candidates, names, strict=True)
        deploys = tuple(partial(deployer.deploy, candidate, name=name) for candidate, name in pairs)
        try:
            for deploy in deploys:
                deploy()
        except ModelLoadError:
            _remove(deployer, names[1:])
            yield in_turn
            return
        yield LineUp(deploys, together=True)
    finally:
        _remove(deployer, names[1:])


def _alias(deployer: Deployer, candidate: Candidate, number: int) -> str:
    name = deployer.server.alias(candidate.model, number) if number else None
    return name or candidate.model


def _remove(deployer: Deployer, names: Sequence[str]) -> None:
    for name in names:
        deployer.remove(name, wait=False)
