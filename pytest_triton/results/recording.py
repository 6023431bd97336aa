"""Records made from what happened to a case."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_triton.bench import Evaluation
from pytest_triton.breakdown import called
from pytest_triton.case import Case
from pytest_triton.confirmation import Winner, describe_gain
from pytest_triton.measurement import Measurement
from pytest_triton.results.digests import digest_configuration
from pytest_triton.results.record import Record
from pytest_triton.results.sketch import write_latencies
from pytest_triton.search.objective import Objective
from pytest_triton.search.probed import Probed, at
from pytest_triton.search.selection import Result, Status, front
from pytest_triton.switching import count_instances
from pytest_triton.verdict import Outcome

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class Recorder:
    """Makes the records of one test. ``began`` is the wall clock when it did, in seconds since the epoch."""

    id: str
    run: str
    search: str = ""
    point: str = ""
    began: float = 0.0

    def unmeasured(self, case: Case, outcome: Outcome, reason: str, status: str) -> Record:
        """Record a case that nothing was measured of, and why."""
        return Record(
            id=self.id,
            key=case.key,
            model=case.candidate.model,
            configuration=case.candidate.settings,
            load=case.load.as_dict(),
            slo=case.slo.as_dict(),
            beside={model: each.as_dict() for model, each in case.beside.items()},
            verdict=outcome.value,
            reason=reason,
            status=status,
            search=self.search,
            point=self.point,
            run=self.run,
            began=self.began,
            seconds=time.time() - self.began,
        )

    def measured(self, evaluation: Evaluation, *, status: str = "") -> Record:
        """Record an evaluation."""
        measurement, configuration = evaluation.measurement, evaluation.deployment.configuration
        verdict = evaluation.verdict
        return replace(
            self.unmeasured(evaluation.case, verdict.outcome, verdict.reason, status),
            measurement=measurement.as_dict(),
            composing={name: dict(part.as_dict()) for name, part in called(measurement).items()},
            checks=tuple(check.as_dict() for check in verdict.checks),
            requests=measurement.requests,
            effort=_effort(measurement),
            settings=describe_settings(configuration),
            applied=digest_configuration(configuration),
            latencies=write_latencies(measurement.trace) if measurement.trace is not None else "",
        )


def _effort(measurement: Measurement) -> dict[str, float]:
    effort = {"seconds": measurement.seconds}
    if measurement.trace is not None:
        effort["began"] = time.time() - (time.monotonic_ns() - measurement.trace.started_ns) / 1e9
    return {**effort, "limit": measurement.limit} if measurement.limit else effort


def describe_settings(configuration: ModelConfig) -> dict[str, Any]:
    """Return what a table shows of a configuration that a server applied."""
    return {
        "max_batch_size": configuration.max_batch_size,
        "dynamic_batching": configuration.HasField("dynamic_batching"),
        "instances": count_instances(configuration),
    }


def summarise(
    winner: Winner,
    objectives: Sequence[Objective],
    records: Sequence[Record],
    results: Sequence[Result],
    *,
    candidates: int,
    default: ModelConfig,
    written: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a search decided, as plain JSON. ``records`` and ``results`` are its candidates'.

    ``default`` is the default configuration as applied. ``winner`` is None when the last one that was tried misses the
    SLO. With several objectives, ``front`` maps the candidates that no other one beats in one of them without losing in
    another to their values.
    """
    name = winner.result.id if winner.result is not None else "default"
    best = front(results, objectives) if len(objectives) > 1 else []
    return {
        "model": winner.case.candidate.model,
        "objective": objectives[0].name,
        "objectives": [each.name for each in objectives],
        "winner": name if winner.keeps else None,
        "configuration": winner.case.candidate.settings,
        "gain": {"value": winner.gain.value, "low": winner.gain.low, "high": winner.gain.high},
        "tie": winner.tie,
        "front": {result.id: [_value(result, each) for each in objectives] for result in best},
        "measured": sum(1 for record in records if record.measurement),
        "candidates": candidates,
        "seconds": _spent(records),
        "default": winner.default.as_dict() if winner.default is not None else {},
        "default_settings": describe_settings(default),
        "default_load": winner.default_load.as_dict() if winner.default_load is not None else {},
        "gain_shown": describe_gain(winner.gain),
        "gains_shown": {point: describe_gain(gain) for point, gain in winner.gains.items()},
        "rejected": list(winner.rejected),
        "rivals": list(winner.rivals),
        "alike": list(winner.alike),
        **written,
    }


def _spent(records: Sequence[Record]) -> float:
    """Return the seconds since this run began with the search, and what an earlier run has spent on it."""
    began = [record.began for record in records if not record.reused]
    now = time.time()
    return now - min(began, default=now) + sum(record.seconds for record in records if record.reused)


def _value(result: Result, by: Objective) -> float | None:
    value = result.value(by)
    return value.value if value is not None else None


def read_result(record: Record, case: Case) -> Result:
    """Return what a search knows of the candidate that ``record`` is about. ``case`` is what was asked for."""
    # Where the load was looked for, the record has what was found.
    load = at(case.load, record.load)
    return Result(
        record.point,
        record.configuration,
        Status(record.status),
        record.reason,
        load,
        record.settings.get("instances", 0),
        Measurement.from_dict(record.measurement).metrics,
        tuple(Probed.from_dict(probe, load) for probe in record.probes),
    )
