"""The tests of a search: its candidates, which redden nothing, and its end, which decides."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_triton.bench import Bench, Evaluation
from pytest_triton.case import Case
from pytest_triton.confirmation import Winner, confirm
from pytest_triton.deployment import Deployment
from pytest_triton.errors import (
    MeasurementError,
    ModelLoadError,
    PytestTritonError,
    RequestError,
    SLOViolation,
    UnusableReference,
)
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import metric
from pytest_triton.plugin import options, resuming
from pytest_triton.plugin.search_cases import Search
from pytest_triton.protocol import Effort
from pytest_triton.report.message import no_winner
from pytest_triton.results.recording import KEEPS, Recorder, read_result, summarise
from pytest_triton.results.winner import Install, write_winner
from pytest_triton.search.selection import Status
from pytest_triton.search.strategies import Measure, Skip, Strategy
from pytest_triton.verdict import Outcome
from pytest_triton.verification import WrongOutputs

if TYPE_CHECKING:
    from pytest_triton.plugin.perf import TritonPerf


def try_candidate(perf: TritonPerf, search: Search, case: Case, recorder: Recorder) -> Measurement:
    """Measure one candidate as far as the strategy wants it."""
    state = perf.state
    records = [record for record in state.records if record.search == search.key and record.point]
    elapsed = time.time() - min(record.began for record in records) if records else 0.0
    strategy: Strategy = state.config.hook.pytest_triton_make_strategy(
        config=state.config, candidates=len(search.points)
    )
    decision = strategy.decide(
        [read_result(record, search.points[record.point]) for record in records], elapsed=elapsed
    )
    if isinstance(decision, Skip):
        perf.keep(recorder.unmeasured(case, Outcome.INCONCLUSIVE, decision.reason, Status.SKIPPED.value))
        pytest.skip(decision.reason)
    with perf.lease() as bench:
        return _measure(perf, search, case, recorder, bench, decision)


def _measure(
    perf: TritonPerf, search: Search, case: Case, recorder: Recorder, bench: Bench, decision: Measure
) -> Measurement:
    # Without the default configuration there is nothing to compare with: its failure is an error, not a result.
    try:
        reference = bench.reference(replace(case, candidate=search.base.candidate), search.settings)
    except UnusableReference as error:
        if not error.again:
            raise
        reason = f"its outputs have nothing to be compared with: {error.problem}"
        perf.keep(recorder.unmeasured(case, Outcome.INCONCLUSIVE, reason, Status.SKIPPED.value))
        pytest.skip(reason)
    try:
        effort = perf.effort if perf.smoke else _effort(decision)
        evaluation = bench.evaluate(case, effort, reference=reference, watch=perf.state.progress.measuring)
    except ModelLoadError as error:
        status, reason = Status.UNLOADABLE, error.reason or error.problem
    except (WrongOutputs, RequestError) as error:
        status, reason = Status.DISQUALIFIED, error.problem
        if isinstance(error, RequestError):
            # Its process may have died, which nothing but a fresh server cures.
            perf.state.stop()
    else:
        missed = evaluation.verdict.outcome is Outcome.FAIL
        if evaluation.verdict.outcome is Outcome.ERROR:
            perf.keep(recorder.measured(evaluation, status=Status.ERROR.value))
            perf.settle(evaluation, bench.server)
        status = Status.INFEASIBLE if missed else Status.MEASURED
        perf.keep(recorder.measured(evaluation, status=status.value), evaluation)
        return evaluation.measurement
    perf.keep(recorder.unmeasured(case, Outcome.FAIL, reason, status.value))
    return Measurement({}, problems=(reason,))


def _effort(decision: Measure) -> Effort:
    return Effort(
        warmup=0.5,
        warmup_requests=3,
        warmup_limit=3.0,
        seconds=decision.seconds,
        requests=decision.requests,
        limit=decision.limit,
        looks=1,
    )


def decide(perf: TritonPerf, search: Search, case: Case, recorder: Recorder) -> Measurement:
    """Pick the winner, re-measure it and the default in turn, write its config.pbtxt, apply the SLO."""
    state, model = perf.state, case.candidate.model
    state.progress.say("waiting for the search's candidates")
    records = resuming.gather(perf, search)
    if not records:
        raise MeasurementError(
            f"no candidate of the search for {model} was measured in this run, nor in one before it that still holds",
            model=model,
            hint="run the whole test, not only its [best] case",
        )
    by = metric(search.settings.objective.name)
    with perf.lease() as bench:
        winner = confirm(
            bench,
            case,
            [read_result(record, search.points[record.point]) for record in records],
            by,
            slos={point: each.slo for point, each in search.points.items()},
            effort=perf.effort,
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
            search.settings.objective.name,
            records,
            candidates=len(search.points),
            default=bench.deployer.default(model),
            written=_write(perf, winner),
        )
        perf.keep(replace(recorder.measured(evaluation), summary=summary), evaluation)
        perf.settle(evaluation, bench.server)
    return winner.measurement


def _write(perf: TritonPerf, winner: Winner) -> dict[str, str]:
    """Write the winner's config.pbtxt. A folder that cannot be written loses nothing that was measured."""
    state, model = perf.state, winner.case.candidate.model
    if winner.verdict.outcome not in KEEPS:
        return {}
    install = Install(
        folder=state.output / "best" / model,
        repository=perf.repository,
        into_repository=options.is_set(state.config, "apply-best"),
    )
    try:
        return write_winner(install, model, winner.case.candidate.patch, winner.configuration)
    except PytestTritonError as error:
        state.troubled(str(error))
        return {}
