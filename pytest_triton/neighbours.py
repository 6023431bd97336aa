"""The loads on other models beside the one that is measured: kept up, looked at in step with it, and measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pytest_triton.case import Beside
from pytest_triton.load.base import LoadSession
from pytest_triton.measurement import Measurement, measure_trace
from pytest_triton.metrics import in_order, of_model
from pytest_triton.observation import OK, ServerStatistics, Trace
from pytest_triton.slo import SLO
from pytest_triton.windows import align, merge


@dataclass(slots=True)
class Neighbours:
    """Running loads on other models, by their names. They have begun before the measured one, and end after it."""

    sessions: Mapping[str, LoadSession]
    _before: dict[str, Trace] = field(default_factory=dict)
    _traces: dict[str, list[Trace]] = field(default_factory=dict)
    _served: set[str] = field(default_factory=set)
    _reasons: dict[str, set[str]] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin to measure: what completed until now counts no more."""
        for model, session in self.sessions.items():
            self._before[model] = self._look_at(model, session.collect(seconds=0.0))
            self._traces[model] = []

    def collect(self) -> None:
        """Take what completed since the last time; the loads go on."""
        for model, session in self.sessions.items():
            self._traces[model].append(self._look_at(model, session.collect(seconds=0.0)))

    def requests(self, model: str) -> int:
        """Return how many requests to ``model`` were collected since the beginning."""
        return sum(map(len, self._traces[model]))

    def traces(self) -> dict[str, Trace]:
        """Return what was collected since the beginning; in closed loop in whole turns."""
        return {model: align(merge(traces), self._before[model]) for model, traces in self._traces.items() if traces}

    def stop(self) -> Iterator[tuple[str, list[str]]]:
        """End the loads. Yield the models none of whose requests ever succeeded, and why."""
        for model, session in self.sessions.items():
            self._look_at(model, session.stop())
            if model not in self._served:
                yield model, sorted(self._reasons.get(model, ()))

    def _look_at(self, model: str, trace: Trace) -> Trace:
        if (trace.status == OK).any():
            self._served.add(model)
        self._reasons.setdefault(model, set()).update(trace.reasons.values())
        return trace


def measure_beside(
    traces: Mapping[str, Trace], counted: Mapping[str, ServerStatistics], loads: Mapping[str, Beside], slo: SLO
) -> dict[str, Measurement]:
    """Return what traces of other models say, and what the server ``counted`` of them; ``slo`` has their bounds."""
    return {
        model: measure_trace(
            trace, batch_size=loads[model].load.batch_size, statistics=counted.get(model), slo=slo.on(model)
        )
        for model, trace in traces.items()
    }


def add_beside(measurement: Measurement, parts: Mapping[str, Measurement], wanted: Collection[str]) -> Measurement:
    """Return the measurement with those of the models beside it.

    It is not valid where one of the ``wanted`` ones, whose figures something depends on, is not.
    """
    metrics = dict(measurement.metrics)
    for model, part in parts.items():
        metrics.update(of_model(model, part.metrics))
    problems = [
        f"{model}, under load beside it: {problem}"
        for model, part in parts.items()
        if model in wanted
        for problem in part.problems
    ]
    return replace(
        measurement,
        metrics=in_order(metrics),
        problems=(*measurement.problems, *problems),
        beside=dict(parts),
    )
