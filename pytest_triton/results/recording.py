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
from pytest_triton.deployment import count_instances
from pytest_triton.measurement import Measurement
from pytest_triton.results.digests import digest_configuration
from pytest_triton.results.record import Record
from pytest_triton.results.sketch import write_latencies
from pytest_triton.search.selection import Result, Status
from pytest_triton.verdict import Outcome

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

KEEPS = (Outcome.PASS, Outcome.INCONCLUSIVE)
"""Verdicts with which a candidate wins its search."""


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
            configuration=dict(case.candidate.patch),
            load=case.load.as_dict(),
            slo=case.slo.as_dict(),
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
    objective: str,
    records: Sequence[Record],
    *,
    candidates: int,
    default: ModelConfig,
    written: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a search decided, as plain JSON. ``records`` are its candidates'; ``default`` is as applied.

    ``winner`` is None when the last one that was tried misses the SLO.
    """
    name = winner.result.id if winner.result is not None else "default"
    return {
        "model": winner.case.candidate.model,
        "objective": objective,
        "winner": name if winner.verdict.outcome in KEEPS else None,
        "configuration": dict(winner.case.candidate.patch),
        "gain": {"value": winner.gain.value, "low": winner.gain.low, "high": winner.gain.high},
        "tie": winner.tie,
        "measured": sum(1 for record in records if record.measurement),
        "candidates": candidates,
        "seconds": time.time() - min(record.began for record in records),
        "default": winner.default.as_dict() if winner.default is not None else {},
        "default_settings": describe_settings(default),
        "gain_shown": describe_gain(winner.gain),
        "rejected": list(winner.rejected),
        "rivals": list(winner.rivals),
        **written,
    }


def read_result(record: Record, case: Case) -> Result:
    """Return what a search knows of the candidate that ``record`` is about. ``case`` is what was asked for."""
    # Where the load was looked for, the record has what was found.
    load = replace(case.load, concurrency=record.load["concurrency"])
    return Result(
        record.point,
        record.configuration,
        Status(record.status),
        record.reason,
        load,
        record.settings.get("instances", 0),
        Measurement.from_dict(record.measurement).metrics,
    )
