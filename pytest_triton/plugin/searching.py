"""The last test of a search, which decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_triton.bench import Evaluation
from pytest_triton.case import Case
from pytest_triton.confirmation import PATIENCE, Winner, confirm
from pytest_triton.deployment import Deployer, Deployment, patched
from pytest_triton.errors import MeasurementError, PytestTritonError, SLOViolation
from pytest_triton.measurement import Measurement
from pytest_triton.plugin import course, options, resuming
from pytest_triton.plugin.candidates import read_results
from pytest_triton.plugin.search_cases import Search
from pytest_triton.protocol import Effort
from pytest_triton.report.message import no_winner
from pytest_triton.results.recording import Recorder, summarise
from pytest_triton.results.winner import Install, write_winner
from pytest_triton.search.selection import Status
from pytest_triton.server.options import as_words
from pytest_triton.verdict import Outcome

if TYPE_CHECKING:
    from pytest_triton.plugin.perf import TritonPerf


def decide(perf: TritonPerf, search: Search, case: Case, recorder: Recorder) -> Measurement:
    """Pick the winner, re-measure it and the default in turn, write its config.pbtxt, apply the SLO."""
    state, model = perf.state, case.candidate.model
    if state.fixed:
        raise MeasurementError(
            f"{model}: nothing can be compared, for the server loads no configuration",
            model=model,
            hint="Start it with --model-control-mode=explicit.",
        )
    state.progress.say("waiting for the search's candidates")
    records = resuming.gather(perf, search)
    if not records:
        raise MeasurementError(
            f"no candidate of the search for {model} was measured in this run, nor in one before it that still holds",
            model=model,
            hint="run the whole test, not only its [best] case",
        )
    by, results = search.settings.objective, read_results(search, records)
    left = course.time_left(perf, search)
    with perf.lease() as bench:
        winner = confirm(
            bench,
            case,
            results,
            by,
            cases={
                result.id: search.case(result.id)
                for result in results
                if result.probes or result.status is Status.MEASURED
            },
            effort=perf.effort if left is None or perf.smoke else _within(perf.effort, left),
            patience=PATIENCE if left is None else min(PATIENCE, left),
            watch=state.progress.measuring,
            blocks=state.progress.alternating,
        )
        if winner is None:
            text = no_winner(model, by, records)
            perf.keep(recorder.unmeasured(case, Outcome.FAIL, text.partition("\n")[0], ""))
            raise SLOViolation(text)
        deployment = Deployment(winner.case.candidate, model, winner.configuration)
        evaluation = Evaluation(winner.case, deployment, winner.measurement, winner.verdict)
        summary = summarise(
            winner,
            search.settings.objectives,
            records,
            results,
            candidates=len(search.points),
            default=bench.deployer.default(model),
            written=_write(perf, winner, bench.deployer),
        )
        perf.keep(replace(recorder.measured(evaluation), summary=summary), evaluation)
        perf.settle(evaluation, bench.server)
    return winner.measurement


def _within(effort: Effort, seconds: float) -> Effort:
    """Let nothing be measured for much longer than ``seconds``: as long as it takes to tell anything."""
    return replace(effort, limit=max(min(effort.limit, seconds), effort.seconds))


def _write(perf: TritonPerf, winner: Winner, deployer: Deployer) -> dict[str, Any]:
    """Write the winner's config.pbtxt, and those of other models that it changes, which ``others`` has by their names.

    A folder that cannot be written loses nothing that was measured.
    """
    state, candidate = perf.state, winner.case.candidate
    if not winner.keeps:
        return {}
    best = state.output / "best"
    install = Install(
        folder=best / candidate.model,
        repository=perf.repository,
        into_repository=options.is_set(state.config, "apply-best"),
        name=options.setting(state.config, "config-name")[0],
    )
    try:
        written: dict[str, Any] = dict(write_winner(install, candidate.model, candidate.patch, winner.configuration))
        for model, patch in candidate.composing.items():
            if patch:
                applied = patched(deployer.default(model), patch)
                others = written.setdefault("others", {})
                others[model] = write_winner(replace(install, folder=best / model), model, patch, applied)
        if candidate.server:
            written["started_with"] = " ".join(as_words(candidate.server))
        return written
    except PytestTritonError as error:
        state.troubled(str(error))
        return {}
