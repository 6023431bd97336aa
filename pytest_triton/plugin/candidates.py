"""The tests of a search's candidates: measured as far as the strategy wants it. None of them reddens a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from pytest_triton.bench import Bench
from pytest_triton.case import Case
from pytest_triton.crash import describe_crash, describe_crash_under_load
from pytest_triton.errors import LoadNotAllowed, ModelLoadError, PytestTritonError, RequestError, UnusableReference
from pytest_triton.exploration import Explored, explore
from pytest_triton.measurement import Measurement
from pytest_triton.plugin.search_cases import Search
from pytest_triton.results.record import Record
from pytest_triton.results.recording import Recorder, read_result
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.strategies import Strategy, Trial
from pytest_triton.search.strategies.smoke import Smoke
from pytest_triton.verdict import Outcome
from pytest_triton.verification import WrongOutputs

if TYPE_CHECKING:
    from pytest_triton.plugin.perf import TritonPerf

_VERDICTS = {Status.SKIPPED: Outcome.INCONCLUSIVE, Status.ERROR: Outcome.ERROR}


def try_candidate(perf: TritonPerf, search: Search, case: Case, recorder: Recorder) -> Measurement:
    """Measure the candidate whose turn it is."""
    with perf.lease() as bench:
        attempt = Attempt(perf, search, recorder, bench)
        if search.space is not None:
            from pytest_triton.plugin import proposing

            return proposing.try_proposed(attempt)
        attempt.keep(recorder.point, case, attempt.explore(recorder.point, case))
        return attempt.measurement


@dataclass(slots=True)
class Attempt:
    """The test of one candidate."""

    perf: TritonPerf
    search: Search
    recorder: Recorder
    bench: Bench
    measurement: Measurement = field(default_factory=lambda: Measurement({}))

    def known(self) -> list[Result]:
        """Return what this run knows of the search's candidates, in the order they were tried."""
        return read_results(self.search, self.perf.state.so_far(self.search.key))

    def explore(self, point: str, case: Case) -> Explored:
        """Measure a candidate as far as the strategy wants it, and say what became of it.

        Raises what is wrong with the default configuration or the reference, without which nothing can be compared.
        """
        perf, search = self.perf, self.search
        if perf.state.fixed:
            return Explored(Status.SKIPPED, "the server loads no configuration, as the error before says")
        try:
            reference = self.bench.reference(replace(case, candidate=search.base.candidate), search.settings)
        except UnusableReference as error:
            if not error.again:
                raise
            return Explored(Status.SKIPPED, "there is nothing to compare its outputs with, as the error before says")
        trial = self._trial(point, case)
        try:
            explored = explore(
                self.bench, trial, self._strategy(), reference=reference, watch=perf.state.progress.measuring
            )
        except PytestTritonError as error:
            perf.state.fixed = isinstance(error, LoadNotAllowed)
            became = self._blame(error)
            if became is None:
                raise
            return became
        problems = explored.evaluation.measurement.problems if explored.evaluation is not None else ()
        crash = describe_crash_under_load(problems, self.bench.server)
        if crash:
            self.perf.state.stop()
            return Explored(Status.CRASHED, crash)
        return explored

    def _strategy(self) -> Strategy:
        if self.perf.smoke:
            return Smoke()
        config = self.perf.state.config
        strategy: Strategy = config.hook.pytest_triton_make_strategy(
            config=config, candidates=len(self.search.points), settings=self.search.settings
        )
        return strategy

    def _trial(self, point: str, case: Case) -> Trial:
        search, results = self.search, self.known()
        alike = {
            name: other for name, other in search.points.items() if other.candidate == case.candidate and name != point
        }
        return Trial(
            point,
            case,
            search.settings,
            results=results,
            siblings=[result for result in results if result.id in alike] if search.space is None else [],
            loads=[case.load, *(other.load for other in alike.values())] if search.space is None else [case.load],
            elapsed=self.perf.state.searched(search.key),
            left=max(1, len(search.points) - len(results)),
        )

    def _blame(self, error: PytestTritonError) -> Explored | None:
        """Say what an error makes of the candidate; None where it is not the candidate's."""
        crash = describe_crash(error, self.bench.server)
        if crash:
            # What is left of its process is cured by nothing but a fresh server.
            self.perf.state.stop()
            return Explored(Status.CRASHED, crash)
        if isinstance(error, ModelLoadError):
            return Explored(Status.UNLOADABLE, error.reason or error.problem)
        if isinstance(error, RequestError):
            self.perf.state.stop()
        if isinstance(error, WrongOutputs | RequestError):
            return Explored(Status.DISQUALIFIED, error.problem)
        return None

    def keep(self, point: str, case: Case, explored: Explored) -> None:
        """Record what became of a candidate, and tell pytest."""
        record = self._record(replace(self.recorder, point=point), case, explored)
        self.perf.keep(record, explored.evaluation)
        if explored.status is Status.ERROR and explored.evaluation is not None:
            self.perf.settle(explored.evaluation, self.bench.server)
        if explored.status is Status.SKIPPED:
            pytest.skip(explored.reason)
        self.measurement = (
            Measurement({}, problems=(explored.reason,))
            if explored.evaluation is None
            else explored.evaluation.measurement
        )

    def _record(self, recorder: Recorder, case: Case, explored: Explored) -> Record:
        status, evaluation = explored.status, explored.evaluation
        if evaluation is None:
            outcome = _VERDICTS.get(status, Outcome.FAIL)
            record = recorder.unmeasured(case, outcome, explored.reason, status.value)
        else:
            record = recorder.measured(evaluation, status=status.value)
        wanted = [name for objective in self.search.settings.objectives for name in objective.metrics]
        wanted += [bound.metric.name for bound in case.slo.bounds]
        return replace(
            record,
            reason=explored.reason or record.reason,
            probes=tuple(probe.as_dict(wanted) for probe in explored.probes),
        )


def read_results(search: Search, records: Sequence[Record]) -> list[Result]:
    """Return what is known of the candidates of a search by their records."""
    return [read_result(record, search.case(record.point)) for record in records if _is_known(search, record)]


def _is_known(search: Search, record: Record) -> bool:
    """Whether a record is about a candidate: a turn may have had none left."""
    try:
        search.case(record.point)
    except KeyError:
        return False
    return True
