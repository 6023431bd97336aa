"""A search that was interrupted goes on: what an earlier run has measured of it stands for this one's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.case import Case, digest
from pytest_triton.errors import PytestTritonError
from pytest_triton.measurement import Measurement
from pytest_triton.plugin import options
from pytest_triton.plugin.course import selected
from pytest_triton.plugin.search_cases import Search
from pytest_triton.report.outlook import show_moment, tells
from pytest_triton.repository.configuration import read
from pytest_triton.repository.layout import CONFIGURATION
from pytest_triton.results.digests import digest_configuration, digest_model, digest_value
from pytest_triton.results.fingerprint import changes
from pytest_triton.results.record import Record

if TYPE_CHECKING:
    from pytest_triton.plugin.perf import TritonPerf

_FILES, _SLO = "the model's files", "the SLO"


def resume(perf: TritonPerf, search: Search) -> Measurement | None:
    """Let what an earlier run has measured of this candidate stand, if that search was not decided and it still holds.

    Return that measurement, or None where the candidate is to be measured.
    """
    record = _earlier(perf, search, decided=False).get(perf.plan.point)
    if record is None:
        return None
    perf.state.take_over(perf.node, [record], run_by=True)
    return Measurement.from_dict(
        record.measurement, requests=record.requests, seconds=record.effort.get("seconds", 0.0)
    )


def gather(perf: TritonPerf, search: Search) -> list[Record]:
    """Return the records of all candidates that a search has, at its end.

    Those whose tests are not part of this run come from the newest run before it, if that still holds.
    """
    here = selected(perf.node.session, search.key)
    away = [point for point in search.points if point not in here]
    if away:
        earlier = _earlier(perf, search, decided=True)
        kept = [earlier[point] for point in away if point in earlier]
        perf.state.take_over(perf.node, kept, run_by=False)
        here = {*here, *(record.turn for record in kept)}
    return perf.state.search_records(search.key, [point for point in search.points if point in here])


def place(perf: TritonPerf, search: Search, record: Record) -> Record:
    """Say in a candidate's record what search it is of, and what its result rests on."""
    sought = {
        "objectives": [objective.name for objective in search.settings.objectives],
        "candidates": len(search.points),
        "turn": perf.plan.point,
    }
    return replace(record, sought=sought, basis={**_basis(perf, search), _SLO: _digest_slo(perf.plan.case)})


def _digest_slo(case: Case) -> str:
    return digest(case.slo.as_dict())


def _basis(perf: TritonPerf, search: Search) -> dict[str, str]:
    """Return digests, by what they are of, of what a candidate's result rests on beside its case and the model's files.

    These are words that stand before "has changed", or "have".
    """
    settings, case = search.settings, perf.plan.case
    how = [settings.strategy, settings.sampler, settings.restart, settings.unload_first, perf.smoke]
    return {
        "config.pbtxt": _configuration(perf.repository, case.candidate.model),
        "the model on the server": _served(perf, case.candidate.model),
        "an ensemble's model": digest([*_called(perf.repository, case.candidate.model, set())]),
        "the models beside": digest([*_beside(perf.repository, case)]),
        "the inputs": digest_value(perf.data if case.inputs.data is None else case.inputs.data),
        "the reference": digest_value([settings.reference, settings.tolerance]),
        "the strategy": digest(how),
        "the server's arguments": digest(list(perf.arguments)),
    }


@dataclass(slots=True)
class Earlier:
    """What the newest run before this one has left of a search: its records by candidate, and whether it decided.

    ``holding`` are those that still hold, None until that was looked at.
    """

    records: Mapping[str, Record]
    decided: bool
    holding: Mapping[str, Record] | None = None


def _earlier(perf: TritonPerf, search: Search, *, decided: bool) -> Mapping[str, Record]:
    """Return what the newest run before this one knows of the candidates and still holds; looked up once.

    Without ``decided`` that is nothing where it came to its end: a search that was decided begins anew.
    """
    state = perf.state
    if options.is_set(state.config, "fresh"):
        return {}
    if search.key not in state.earlier:
        found = state.before(search.key)
        state.earlier[search.key] = Earlier(
            {record.turn: record for record in found if tells(record) and record.turn in search.points},
            decided=any(not record.point and record.verdict != "ERROR" for record in found),
        )
    earlier = state.earlier[search.key]
    if not earlier.records or (earlier.decided and not decided):
        return {}
    if earlier.holding is None:
        earlier.holding = _holding(perf, search, earlier.records)
    return earlier.holding


def _holding(perf: TritonPerf, search: Search, records: Mapping[str, Record]) -> Mapping[str, Record]:
    """Return those of an earlier run's ``records`` that were made under today's circumstances; say what has changed."""
    model = search.base.candidate.model
    # Which server it is, and of which version, is known once it runs.
    with perf.lease():
        now = perf.state.circumstances(perf.node, model)
    ours = {_FILES: str(now["model_files"]), **_basis(perf, search)}
    holding, reasons = {}, dict[str, None]()
    for point, record in records.items():
        theirs = {_FILES: record.model_files, **record.basis}
        own = {**ours, _SLO: _digest_slo(search.points[point])}
        changed = [name for name, value in own.items() if theirs.get(name) != value]
        changed += changes(record.fingerprint, now["fingerprint"])
        if changed:
            reasons.update(dict.fromkeys(changed))
        else:
            holding[point] = record
    if reasons:
        perf.state.noted(_stale(model, [r for point, r in records.items() if point not in holding], list(reasons)))
    return holding


def _stale(model: str, records: Sequence[Record], reasons: Sequence[str]) -> str:
    began = show_moment(min(record.began for record in records))
    many = "1 candidate" if len(records) == 1 else f"{len(records)} candidates"
    return f"{model}: what the run of {began} measured of {many} is not reused; changed since: {', '.join(reasons)}"


def _configuration(repository: Path | None, model: str) -> str:
    path = repository / model / CONFIGURATION if repository is not None else None
    try:
        return digest_configuration(read(path)) if path is not None and path.exists() else ""
    except PytestTritonError:
        # Who loads the model says so.
        return ""


def _beside(repository: Path | None, case: Case) -> Iterator[Any]:
    """Yield digests of the models under load beside, and of what they are asked."""
    for model, beside in case.beside.items():
        files = digest_model(repository / model) if repository is not None else ""
        yield from (model, files, _configuration(repository, model), digest_value(beside.inputs.data))


def _served(perf: TritonPerf, model: str) -> str:
    """Return a digest of what a server that is not ours says of a model as it was found there; "" for one of ours.

    Its files cannot be seen from here: a change that leaves version, configuration and tensors alone is not noticed.
    """
    state = perf.state
    if not options.is_remote(state.config):
        return ""
    if model not in state.served:
        try:
            bench = state.bench(perf.repository, perf.arguments)
            found = digest_configuration(bench.deployer.default(model))
            said = bench.server.control.metadata(model)
        except PytestTritonError:
            # Who measures the model says so.
            return ""
        tensors = [(tensor["name"], tensor["datatype"]) for side in ("inputs", "outputs") for tensor in said[side]]
        state.served[model] = digest([found, said["platform"], list(said["versions"]), tensors])
    return state.served[model]


def _called(repository: Path | None, model: str, seen: set[str]) -> Iterator[str]:
    """Yield digests of the models that an ensemble calls, and of those that they call."""
    path = repository / model / CONFIGURATION if repository is not None else None
    if repository is None or path is None or not path.exists():
        return
    try:
        steps = sorted({step.model_name for step in read(path).ensemble_scheduling.step})
    except PytestTritonError:
        return
    for step in steps:
        if step not in seen:
            seen.add(step)
            yield from (step, digest_model(repository / step), _configuration(repository, step))
            yield from _called(repository, step, seen)
