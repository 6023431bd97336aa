"""``triton_perf()``: from a collected test's plan to its record, and to what pytest makes of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.bench import Bench, Evaluation
from pytest_triton.case import Case
from pytest_triton.crash import find_death
from pytest_triton.errors import (
    EngineError,
    MarkerError,
    MeasurementError,
    OptionError,
    PytestTritonError,
    RequestError,
    ServerDied,
    SLOViolation,
)
from pytest_triton.measurement import Measurement
from pytest_triton.plugin import benchmark_sink, course, devices, lifecycle, options, resuming, values
from pytest_triton.plugin.expansion import BEST, Plan
from pytest_triton.plugin.loads import Overrides
from pytest_triton.plugin.search_cases import Search
from pytest_triton.plugin.state import State
from pytest_triton.protocol import SMOKE, Effort
from pytest_triton.report.message import explain
from pytest_triton.report.remarks import remarks
from pytest_triton.repository.configuration import read
from pytest_triton.repository.layout import CONFIGURATION, find_model
from pytest_triton.results.record import Record
from pytest_triton.results.recording import Recorder
from pytest_triton.server.base import Server
from pytest_triton.verdict import Outcome


class TritonInconclusiveWarning(UserWarning):
    """A measurement could not decide its SLO within its bounds."""


class Inconclusive(AssertionError):
    """A measurement could not decide its SLO, and ``--triton-inconclusive=fail`` asks for a decision."""


def find_in_repository(repository: Path, model: str) -> None:
    """Raise ``RepositoryError`` or ``ConfigurationError`` before Triton is asked to serve ``model``."""
    folder = find_model(repository, model)
    if folder.configuration is not None:
        read(folder.configuration)


@dataclass(slots=True, repr=False)
class TritonPerf:
    """What the ``triton_perf`` fixture hands out."""

    node: pytest.Item
    plan: Plan
    state: State
    repository: Path | None
    arguments: Sequence[str]
    data: Any = None
    _calls: int = field(default=0, init=False)
    _leased: float = field(default=0.0, init=False)
    """When the device was ours last, in seconds since the epoch."""

    def __call__(self, **overrides: Any) -> Measurement:
        """Measure, judge and record this test's case; return the measurement.

        Raises ``SLOViolation`` when a bound is missed, a ``PytestTritonError`` when nothing valid was measured.
        """
        __tracebackhide__ = True
        try:
            return self._run(Overrides.read(overrides, self.node.path.parent))
        except (PytestTritonError, AssertionError) as error:
            # The reader's own line is what matters in the traceback, not ours.
            raise error.with_traceback(None) from None
        finally:
            self.state.progress.clear()

    def __repr__(self) -> str:
        # pytest prints it above every failure.
        return f"<triton_perf of {self.plan.case.candidate.model}>"

    def _run(self, overrides: Overrides) -> Measurement:
        self._calls += 1
        case = self._case(overrides)
        self.state.progress.subject, self.state.progress.outlook = self.node.name, ""
        recorder = self._recorder()
        try:
            self.state.prepare_output()
            if self.plan.search is not None:
                return self._search(self.plan.search, case, recorder)
            with self.lease() as bench:
                evaluation = bench.evaluate(case, self.effort, watch=self.state.progress.measuring)
                self.keep(recorder.measured(evaluation), evaluation)
                self.settle(evaluation, bench.server)
                return evaluation.measurement
        except PytestTritonError as error:
            error.model = error.model or case.candidate.model
            if not self._kept_error():
                self.keep(recorder.unmeasured(case, Outcome.ERROR, error.problem, "error"))
            raise

    def _search(self, search: Search, case: Case, recorder: Recorder) -> Measurement:
        from pytest_triton.plugin import candidates, searching

        if options.is_remote(self.state.config) and self.state.workers > 1:
            raise OptionError(
                "a search changes what a running server serves, and several workers would do so at once",
                hint="Run it without -n, or with -n 1.",
            )
        self.state.progress.outlook = course.outlook(self, search)
        if self.plan.point == BEST:
            return searching.decide(self, search, case, recorder)
        known = resuming.resume(self, search)
        return known if known is not None else candidates.try_candidate(self, search, case, recorder)

    def _case(self, overrides: Overrides) -> Case:
        case = self.plan.case
        if overrides.load:
            if self.plan.search is not None:
                raise MarkerError(
                    "triton_perf() takes no arguments in a search",
                    hint="put the load into the axes of triton_search or into triton_load",
                )
            case = self.plan.with_load(overrides.apply(case.load), self.state.config)
        if self.data is not None and case.inputs.data is None:
            case = replace(case, inputs=replace(case.inputs, data=self.data))
        return case

    def _recorder(self) -> Recorder:
        search = self.plan.search
        return Recorder(
            id=self.node.nodeid if self._calls == 1 else f"{self.node.nodeid}#{self._calls}",
            run=self.state.run,
            search=search.key if search is not None else "",
            point=self.plan.point if self.plan.point != BEST else "",
            began=time.time(),
        )

    def _kept_error(self) -> bool:
        """Tell whether this call has left its record already: it was measured, and not valid."""
        last = self.state.records[-1] if self.state.records else None
        return last is not None and last.id == self._recorder().id and last.verdict == Outcome.ERROR.value

    @property
    def smoke(self) -> bool:
        """Whether only to see that everything works."""
        return options.is_set(self.state.config, "smoke")

    @property
    def effort(self) -> Effort:
        """How long to measure what is judged."""
        limit = values.duration(self.state.config, "max-duration")
        assert limit is not None
        return SMOKE if self.smoke else Effort(limit=limit)

    @contextmanager
    def lease(self) -> Iterator[Bench]:
        """Wait for the device, then give the bench with a running server, the model's folder checked."""
        asked = time.time()
        with devices.hold(self.state.config, self.state.progress, self.node.nodeid):
            self._leased = time.time()
            self.state.waited += self._leased - asked
            if self.repository is not None and not options.is_remote(self.state.config):
                find_in_repository(self.repository, self.plan.case.candidate.model)
            bench = self.state.bench(self.repository, self.arguments)
            try:
                yield bench
            except (ServerDied, RequestError, MeasurementError, EngineError) as error:
                death = find_death(error, bench.server)
                if death is not None:
                    lifecycle.crashed(self.state, self.node)
                elif isinstance(error, EngineError):
                    raise
                # A model whose process died says that it is ready, and cannot even be unloaded: the next test gets a
                # fresh server.
                self.state.stop()
                if death is not None and death is not error:
                    raise death from error
                raise

    def keep(self, record: Record, evaluation: Evaluation | None = None) -> None:
        """Keep a record, and show pytest-benchmark what was measured if it asks for it."""
        if self._leased > record.began:
            waited = self._leased - record.began
            record = replace(record, began=self._leased, seconds=max(record.seconds - waited, 0.0))
        if record.point and self.plan.search is not None:
            record = resuming.place(self, self.plan.search, record)
        self.state.keep(self.node, record)
        if evaluation is not None:
            if evaluation.verdict.outcome is not Outcome.ERROR:
                self.state.crashes = 0
            # A candidate's row says it.
            for remark in remarks(evaluation.measurement) if not record.point else ():
                self.state.noted(f"{self.node.name}: {remark}")
            benchmark_sink.replay(self.node, record, evaluation)

    def settle(self, evaluation: Evaluation, server: Server) -> None:
        """Turn a verdict into what pytest understands. Returns when the test passes."""
        outcome, model = evaluation.verdict.outcome, evaluation.case.candidate.model
        if outcome is Outcome.ERROR:
            raise MeasurementError(
                f"{model}: the measurement is not valid: {evaluation.verdict.reason}",
                model=model,
                configuration=self.plan.point,
                hint=f"server.log: {server.log}" if server.log is not None else "",
            )
        if outcome is Outcome.PASS or self.smoke:
            return
        text = explain(evaluation, log=server.log, configuration=self._configuration_path(model))
        if outcome is Outcome.FAIL:
            raise SLOViolation(text)
        policy, _ = options.setting(self.state.config, "inconclusive")
        if policy == "fail":
            raise Inconclusive(text)
        if policy == "warn":
            _, line, _ = self.node.location
            warnings.warn_explicit(TritonInconclusiveWarning(text), None, str(self.node.path), (line or 0) + 1)

    def _configuration_path(self, model: str) -> Path | None:
        path = self.repository / model / CONFIGURATION if self.repository is not None else None
        return path if path is not None and path.exists() else None
