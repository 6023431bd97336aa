"""The end of a search: the leader and the default configuration measured in alternation, and the winner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.bench import PROBE, Bench
from pytest_triton.case import Candidate, Case, Load
from pytest_triton.compare import PAIRS, Comparison, Contender, compare
from pytest_triton.deployment import count_instances, patched
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Estimate, Metric
from pytest_triton.protocol import SMOKE, Effort, Watcher, measure
from pytest_triton.repository.difference import differences
from pytest_triton.search.selection import Result, cost, finalists, rank
from pytest_triton.slo import SLO
from pytest_triton.verdict import Outcome, Verdict, judge


@dataclass(frozen=True, slots=True)
class Winner:
    """What a search decided, in figures that were measured anew after the choice.

    ``result`` is None when the default configuration stays: it led itself, or no candidate was shown to be better.
    ``default`` is None when there was nothing to compare. ``rejected`` says why others fell out that
    were tried for the end, ``rivals`` which were not told apart from the winner by their first figures.
    """

    result: Result | None
    case: Case
    configuration: ModelConfig
    measurement: Measurement
    verdict: Verdict
    gain: Estimate
    default: Measurement | None
    tie: bool
    rejected: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()


_MOST = 3
"""Finalists that are re-measured, one after the other, while none keeps the SLO."""

Blocks = Callable[[int, int], None]


def confirm(
    bench: Bench,
    case: Case,
    results: Sequence[Result],
    by: Metric,
    *,
    effort: Effort,
    slos: Mapping[str, SLO] | None = None,
    watch: Watcher | None = None,
    blocks: Blocks | None = None,
) -> Winner | None:
    """Re-measure the leading candidates against the default until one keeps the SLO strictly.

    ``case`` is the search's case without a patch, ``slos`` the candidates' own by their ids. None when no candidate
    may win, or none of the leaders kept the SLO when measured at length; ``rank`` and the results' reasons say why.
    """
    rejected: list[str] = []
    outcome: Winner | None = None
    last = finalists(rank(results, by), by)
    for leader in last[:_MOST]:
        slo = (slos or {}).get(leader.id, case.slo)
        outcome = _confirm_one(bench, case, results, leader, slo, by, effort, watch, blocks)
        outcome = replace(outcome, rivals=tuple(rival.id for rival in last if rival is not leader))
        if outcome.verdict.outcome is Outcome.PASS or outcome.verdict.outcome is Outcome.INCONCLUSIVE:
            return replace(outcome, rejected=(*rejected, *outcome.rejected))
        rejected.append(f"{leader.id}: {outcome.verdict.reason}")
    return replace(outcome, rejected=tuple(rejected)) if outcome is not None else None


def _confirm_one(
    bench: Bench,
    case: Case,
    results: Sequence[Result],
    leader: Result,
    slo: SLO,
    by: Metric,
    effort: Effort,
    watch: Watcher | None,
    blocks: Blocks | None,
) -> Winner:
    deployer, model = bench.deployer, case.candidate.model
    default = replace(case, candidate=Candidate(model))
    default_configuration = deployer.default(model)
    case = replace(
        case,
        candidate=Candidate(model, leader.patch),
        load=leader.load,
        slo=slo,
    )
    if not differences(default_configuration, patched(default_configuration, leader.patch)):
        measurement, verdict = _judge_at_length(bench, case, None, effort, watch)
        return Winner(None, case, default_configuration, measurement, verdict, Estimate(0.0, 0.0, 0.0), None, False)
    default = replace(default, load=_default_load(bench, default, leader, watch))
    comparison = _compare(bench, default, case, by, effort, blocks)
    measurement, verdict = _judge_at_length(bench, case, comparison.second, effort, watch)
    measurement = _with_memory(measurement, leader)
    gain = comparison.gain
    tie = gain.low is None or gain.high is None or gain.low <= 0 <= gain.high
    worse = gain.high is not None and gain.high < 0
    if worse or (tie and not _is_cheaper(leader, default_configuration, results)):
        kept, kept_verdict = _judge_at_length(bench, default, comparison.first, effort, watch)
        if kept_verdict.outcome is not Outcome.FAIL:
            beaten = f"{leader.id}: {describe_gain(gain)} in {by.name} over the default, measured in alternation"
            nothing = Estimate(0.0, 0.0, 0.0)
            return Winner(
                None, default, default_configuration, kept, kept_verdict, nothing, comparison.first, tie, (beaten,)
            )
    configuration = ModelConfig()
    configuration.CopyFrom(comparison.deployment.configuration)
    configuration.name = model
    return Winner(leader, case, configuration, measurement, verdict, gain, comparison.first, tie)


def _default_load(bench: Bench, default: Case, leader: Result, watch: Watcher | None) -> Load:
    """Give the default configuration the load that serves it best, so that the gain is not the load's."""
    if default.load.concurrency != "auto" or leader.load.open_loop:
        return leader.load
    load = replace(leader.load, concurrency="auto")
    return bench.evaluate(replace(default, load=load), PROBE, watch=watch).case.load


def _compare(bench: Bench, default: Case, case: Case, by: Metric, effort: Effort, blocks: Blocks | None) -> Comparison:
    deployer, model = bench.deployer, case.candidate.model
    alias = bench.server.alias(model)
    # With an alias both are loaded at once and a block costs no reload; without one they take turns under one name.
    try:
        return compare(
            bench.server,
            bench.engine,
            deployer,
            Contender(default, lambda: deployer.deploy(default.candidate)),
            Contender(case, lambda: deployer.deploy(case.candidate, name=alias or "")),
            by,
            pairs=1 if effort is SMOKE else PAIRS,
            seconds=effort.seconds if effort is SMOKE else 0.0,
            watch=blocks,
        )
    finally:
        if alias is not None:
            deployer.remove(alias)


def _judge_at_length(
    bench: Bench, case: Case, measured: Measurement | None, effort: Effort, watch: Watcher | None
) -> tuple[Measurement, Verdict]:
    """Judge what the comparison measured; measure at length only when that does not decide."""
    if measured is not None:
        verdict = judge(measured, case.slo)
        if verdict.outcome is not Outcome.INCONCLUSIVE:
            return measured, verdict
    deployment = bench.deployer.deploy(case.candidate)
    measurement = measure(
        bench.server,
        case,
        bench.engine,
        effort=effort,
        deployer=bench.deployer,
        deployment=deployment,
        watch=watch,
    )
    return measurement, judge(measurement, case.slo)


def _with_memory(measurement: Measurement, leader: Result) -> Measurement:
    """Take the memory from when the leader was loaded alone."""
    memory = {name: leader.metrics[name] for name in ("rss", "gpu_memory") if name in leader.metrics}
    return replace(measurement, metrics={**memory, **measurement.metrics})


def _is_cheaper(leader: Result, default: ModelConfig, results: Sequence[Result]) -> bool:
    same = [r for r in results if not r.patch]
    instances = count_instances(default)
    if leader.instances != instances:
        return leader.instances < instances
    return bool(same) and cost(leader) < cost(same[0])


def describe_gain(gain: Estimate) -> str:
    """Write a gain with its interval: ``+31.2 % (+28.9 % to +33.6 %)``."""
    interval = f" ({gain.low:+.1%} to {gain.high:+.1%})" if gain.low is not None and gain.high is not None else ""
    return f"{gain.value:+.1%}{interval}"
