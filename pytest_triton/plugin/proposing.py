"""The tests of candidates that a study proposes: each asks for one, measures it and tells what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_triton.exploration import Explored
from pytest_triton.measurement import Measurement
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.strategies.optuna import Proposals, Told
from pytest_triton.search.strategies.storage import place_of

if TYPE_CHECKING:
    from pytest_triton.plugin.candidates import Attempt

_STUDIES: pytest.StashKey[dict[str, Proposals]] = pytest.StashKey()


def try_proposed(attempt: Attempt) -> Measurement:
    """Measure the candidate that is proposed next, and tell its study."""
    search = attempt.search
    proposals = _proposals(attempt)
    known = {each.id: Told.of(each, search.settings, search.case(each.id).slo) for each in attempt.known()}
    proposal = proposals.ask(known)
    if proposal is None:
        reason = f"every candidate out of {search.space.counts if search.space else ''} was tried"
        attempt.keep(attempt.recorder.point, search.base, Explored(Status.SKIPPED, reason))
        return attempt.measurement
    case = search.make(proposal.point)
    told = Told(None)
    try:
        explored = attempt.explore(proposal.point.id, case)
        told = Told.of(_result(proposal.point.id, explored), search.settings, case.slo)
    finally:
        proposals.tell(proposal, told)
    attempt.keep(proposal.point.id, case, explored)
    return attempt.measurement


def _result(name: str, explored: Explored) -> Result:
    evaluation = explored.evaluation
    if evaluation is None or explored.status is Status.ERROR:
        return Result(name, {}, explored.status)
    return Result(
        name,
        evaluation.case.candidate.patch,
        explored.status,
        instances=explored.instances,
        metrics=evaluation.measurement.metrics,
    )


def _proposals(attempt: Attempt) -> Proposals:
    search, state = attempt.search, attempt.perf.state
    assert search.space is not None
    studies = state.config.stash.setdefault(_STUDIES, {})
    if search.key not in studies:
        studies[search.key] = Proposals(
            search.space,
            search.settings,
            search.base.slo,
            search.base.candidate.model,
            run=state.run,
            storage=_storage(attempt),
            worker=int(state.worker.removeprefix("gw") or 0) if state.worker else 0,
        )
    return studies[search.key]


def _storage(attempt: Attempt) -> str | None:
    """Return where the study is kept: where the marker says, in the output folder for several workers, or nowhere."""
    state, place = attempt.perf.state, attempt.search.settings.storage
    if place is None:
        return str(state.output / "studies" / f"{state.run}.journal") if state.worker else None
    return place_of(place, state.config.rootpath)
