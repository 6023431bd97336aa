"""The end of a search: finalists and the default configuration measured in alternation, and the winner."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.bench import PROBE, Bench
from pytest_triton.blocks import ALONE, MEMORY, Bout, Contender, Pace, Side
from pytest_triton.case import Candidate, Case, Load
from pytest_triton.deployment import Deployment, patched
from pytest_triton.lineup import Deploy, fits_together, line_up
from pytest_triton.measurement import Measurement
from pytest_triton.metrics import Better, Estimate
from pytest_triton.protocol import SMOKE, Effort, Watcher
from pytest_triton.repository.difference import differences
from pytest_triton.rounds import Rounds, Watch
from pytest_triton.search.contest import LOOKS, Contest
from pytest_triton.search.objective import Objective
from pytest_triton.search.probed import Probed
from pytest_triton.search.selection import Result, costs, finalists, rank
from pytest_triton.switching import count_instances
from pytest_triton.verdict import Outcome, Verdict, judge

PACE = Pace()
"""Of contenders that are loaded at once."""
PATIENCE = 15.0
"""Seconds of rounds after which no more are begun than there must be."""
_PACE_IN_TURN = Pace(seconds=1.0, warmup=0.2)
"""Of contenders that are loaded one after the other: a block is then not much shorter than a load."""
_LOOKS_IN_TURN = (8,)
_SMOKE = Pace(seconds=0.2, warmup=0.0)
_AT_ONCE, _IN_TURN = 4, 2
"""Finalists that meet at a time, loaded at once or one after the other."""
_GROUPS = 3
"""Groups of finalists that are tried, while none of a group keeps the SLO."""
_ENDING, _ENDING_SOON = 10.0, 1.5
"""Seconds that the processes of a configuration have to end: where the memory without them must be known, or may be."""
_LEAST_ROUNDS = 8
"""Of a winner that had been dropped before: below, a gain has no interval."""
_KEEPS = (Outcome.PASS, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Winner:
    """What a search decided, in figures that were measured anew after the choice.

    ``result`` is None when the default configuration stays: it led itself, or no candidate was shown to be better.
    ``default`` is None when there was nothing to compare. ``gain`` is over the default; ``tie`` says that its interval
    holds 0. ``gains`` are those of all that met the default in alternation, by their ids. ``rejected`` says why others
    fell out that were tried for the end, ``rivals`` which pass as no better and no worse; ``alike`` are the candidates
    that set nothing new.
    """

    result: Result | None
    case: Case
    configuration: ModelConfig
    measurement: Measurement
    verdict: Verdict
    gain: Estimate = field(default_factory=lambda: Estimate(0.0, 0.0, 0.0))
    default: Measurement | None = None
    default_load: Load | None = None
    tie: bool = False
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    @property
    def keeps(self) -> bool:
        """Whether it keeps its SLO, as far as that was decided."""
        return self.verdict.outcome in _KEEPS


def confirm(
    bench: Bench,
    case: Case,
    results: Sequence[Result],
    by: Objective,
    *,
    cases: Mapping[str, Case],
    effort: Effort,
    patience: float = PATIENCE,
    watch: Watcher | None = None,
    blocks: Watch | None = None,
) -> Winner | None:
    """Measure the finalists and the default in alternation until it is known which is best and keeps the SLO strictly.

    ``case`` is the search's case without a patch, ``cases`` the candidates' own by their ids. More rounds than there
    must be are begun only within ``patience`` seconds. ``blocks`` is told how many blocks of how many are done. None
    when no candidate may win: ``rank`` and the results' reasons say why. Where none of the finalists keeps the SLO,
    the last one comes back with its verdict.
    """
    ranked = rank(results, by)
    if not ranked:
        return None
    end = _End(bench, case, by, cases, effort, patience, watch, blocks)
    end.find_default(ranked, results)
    outcome: Winner | None = None
    for _ in range(_GROUPS):
        group = end.pick(ranked)
        if not group:
            break
        found = end.decide(group)
        before = outcome.rejected if outcome is not None else ()
        outcome = replace(found, rejected=(*before, *found.rejected), alike=end.alike)
        if outcome.keeps:
            break
        ranked = [result for result in ranked if result not in group]
    return outcome


@dataclass(slots=True)
class _End:
    """The end of one search under way."""

    bench: Bench
    case: Case
    by: Objective
    cases: Mapping[str, Case]
    effort: Effort
    patience: float
    watch: Watcher | None
    blocks: Watch | None
    default: Contender = field(init=False)
    configuration: ModelConfig = field(init=False)
    """The default one."""
    alike: tuple[str, ...] = field(init=False)
    """The candidates that may win and are just that."""

    def find_default(self, ranked: Sequence[Result], results: Sequence[Result]) -> None:
        """Find the load that serves the default configuration best, and what memory it takes when it is alone.

        A candidate that sets nothing new is the default configuration, and was measured already, or probed before it
        was dropped. Without one, a load that was to be looked for is looked for, so that the gain is not the load's;
        else it is the leader's.
        """
        deployer = self.bench.deployer
        self.configuration = deployer.default(self.case.candidate.model)
        leader = ranked[0]
        default = replace(self.case, load=leader.load)
        same = [result for result in ranked if self._is_default(result)]
        self.alike = tuple(result.id for result in same)
        metrics: Mapping[str, Estimate] = {}
        wished = self.case.load
        if same:
            default, metrics = replace(default, load=same[0].load), same[0].metrics
        elif probed := self._best_probe(results, open_loop=leader.load.open_loop):
            default, metrics = replace(default, load=probed.load), probed.metrics
        elif wished.rate == "auto" or (wished.concurrency == "auto" and not leader.load.open_loop):
            load = replace(leader.load, concurrency=wished.concurrency, rate=wished.rate)
            deployer.keep_only(default.candidate)
            deployment = deployer.deploy(default.candidate)
            default = self.bench.find_load(replace(default, load=load), deployment, PROBE, by=self.by, watch=self.watch)
        self.default = self._contender(default, lambda: deployer.deploy(default.candidate), metrics)
        if not self.default.alone:
            self.default = replace(self.default, alone=self._measure_memory())

    def _best_probe(self, results: Sequence[Result], *, open_loop: bool) -> Probed | None:
        """Return the best of the probes of candidates that set nothing new, those that keep the SLO before others.

        Only of those of one kind of load: what a rate and a concurrency come to cannot be compared.
        """
        found: list[tuple[tuple[bool, float], Probed]] = []
        for result in results:
            if not result.probes or not self._is_default(result):
                continue
            for probe in result.probes:
                value = self.by.value(probe.metrics, result.instances)
                if probe.valid and probe.load.open_loop is open_loop and value is not None:
                    worth = value.value if self.by.better is Better.HIGHER else -value.value
                    found.append(((probe.missed(self.case.slo) is None, worth), probe))
        return max(found, key=lambda each: each[0])[1] if found else None

    def _measure_memory(self) -> dict[str, Estimate]:
        """Return the memory in use when the default configuration alone is loaded, and has served a block."""
        deployer, server = self.bench.deployer, self.bench.server
        deployer.keep_only(self.default.case.candidate)
        self.default.deploy()
        usage = server.usage()
        if (usage.rss is None and usage.gpu_memory is None) or self.effort is SMOKE:
            return {}
        Side(self.default).take_turn(self._bout(together=True), seed=0)
        deadline = time.monotonic() + (_ENDING if set(MEMORY) & set(self.by.metrics) else _ENDING_SOON)
        usage = server.usage()
        while usage.children is not None and usage.children > deployer.count_instances():
            # Processes of the configuration before are still ending.
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.1)
            usage = server.usage()
        known = {name: getattr(usage, name) for name in MEMORY}
        return {name: Estimate(float(size)) for name, size in known.items() if size is not None}

    def _is_default(self, result: Result) -> bool:
        candidate = self.cases[result.id].candidate
        if candidate.server or any(candidate.composing.values()):
            return False
        return not differences(self.configuration, patched(self.configuration, candidate.patch))

    def pick(self, ranked: Sequence[Result]) -> list[Result]:
        """Return those that are measured next: the leader, the best and the cheapest of those near it.

        Each configuration once, with the load that serves it best.
        """
        near: dict[str, Result] = {}
        for result in finalists(ranked, self.by):
            near.setdefault(self.cases[result.id].candidate.key, result)
        chosen = list(near.values())
        alike = [self.default.case.candidate, *(self.cases[result.id].candidate for result in chosen)]
        most = _AT_ONCE if fits_together(self.bench.deployer, alike, 0.0) else _IN_TURN
        if len(chosen) <= most:
            return chosen
        kept, rest = chosen[: most - 1], chosen[most - 1 :]
        candidates = [self.cases[each.id].candidate for each in rest]
        pairs = zip(rest, candidates, strict=True)
        prices = costs([(each.instances + self._beside(one), each.metrics, one.settings) for each, one in pairs])
        return [*kept, rest[prices.index(min(prices))]]

    def decide(self, group: Sequence[Result]) -> Winner:
        """Let the finalists of a group meet the default configuration, and choose."""
        others = [result for result in group if result.id not in self.alike]
        if not others:
            winner = self._measure_at_length(self.default, alone=True)
            return winner if winner.keeps else replace(winner, rejected=(f"{group[0].id}: {winner.verdict.reason}",))
        cases = [self.default.case, *(replace(self.cases[r.id], load=r.load) for r in others)]
        memory = [self.default.alone, *(result.metrics for result in others)]
        together = fits_together(
            self.bench.deployer,
            [case.candidate for case in cases],
            sum(each["rss"].value for each in memory if "rss" in each),
        )
        with line_up(self.bench.deployer, [case.candidate for case in cases], together=together) as line:
            contenders = [
                self._contender(case, deploy, metrics)
                for case, deploy, metrics in zip(cases, line.deploys, memory, strict=True)
            ]
            pairs = [(each, each.case.candidate) for each in contenders]
            prices = costs([(each.instances + self._beside(one), each.alone, one.settings) for each, one in pairs])
            looks = (1,) if self.effort is SMOKE else LOOKS if line.together else _LOOKS_IN_TURN
            bout = self._bout(together=line.together)
            rounds = Rounds(Contest(self.by, prices, looks), [Side(each) for each in contenders], bout, self.blocks)
            rounds.play(self.patience)
            return self._choose(rounds, others)

    def _choose(self, rounds: Rounds, others: Sequence[Result]) -> Winner:
        """Return the first one by preference that keeps its SLO, or the default where that one is no better."""
        contest, rejected = rounds.contest, list[str]()
        order = contest.order()
        names = ["default", *(result.id for result in others)]
        outcome: Winner | None = None
        for number in order:
            rounds.complete(number, min(_LEAST_ROUNDS, contest.looks[-1]))
            gain = contest.gain(number)
            tie = gain.low is None or gain.high is None or gain.low <= 0 <= gain.high
            outcome = replace(self._judge(rounds.sides[number]), result=others[number - 1], gain=gain, tie=tie)
            if not outcome.keeps:
                rejected.append(f"{names[number]}: {outcome.verdict.reason}")
                continue
            if number == order[0]:
                outcome = replace(outcome, rivals=tuple(names[each] for each in contest.ties()))
            if contest.costs[number] >= contest.costs[0] if tie else gain.value < 0:
                default = self._judge(rounds.sides[0])
                if default.keeps:
                    rejected.append(f"{names[number]}: {describe_gain(gain)} in {self.by.name} over the default")
                    outcome = replace(default, tie=tie)
            break
        assert outcome is not None
        return replace(
            outcome,
            default=rounds.sides[0].measurement(),
            default_load=self.default.case.load,
            gains={names[each]: contest.gain(each) for each in order},
            rejected=tuple(rejected),
        )

    def _contender(self, case: Case, deploy: Deploy, metrics: Mapping[str, Estimate]) -> Contender:
        alone = {name: metrics[name] for name in ALONE if name in metrics}
        return Contender(case, deploy, alone, count_instances(patched(self.configuration, case.candidate.patch)))

    def _beside(self, candidate: Candidate) -> int:
        """Count the instances of the models that a candidate is served with, as far as it names them."""
        default = self.bench.deployer.default
        return sum(count_instances(patched(default(model), patch)) for model, patch in candidate.composing.items())

    def _bout(self, *, together: bool) -> Bout:
        pace = _SMOKE if self.effort is SMOKE else PACE if together else _PACE_IN_TURN
        return Bout(self.bench.server, self.bench.engine, self.bench.deployer, self.by, pace)

    def _judge(self, side: Side) -> Winner:
        """Judge what a contender's blocks showed; measure it at length only when that does not decide."""
        assert side.deployment is not None
        found = _put_together(side.contender, side.deployment, side.measurement())
        return self._measure_at_length(side.contender) if found.verdict.outcome is Outcome.INCONCLUSIVE else found

    def _measure_at_length(self, contender: Contender, *, alone: bool = False) -> Winner:
        deployment = contender.deploy()
        # Whoever lies on a bound may stay: that it does is seen before all the time there is has passed.
        effort = replace(self.effort, gives_up=True)
        measurement = self.bench.measure(contender.case, deployment, effort, by=[self.by], watch=self.watch)
        return _put_together(contender, deployment, measurement if alone else contender.with_memory(measurement))


def _put_together(contender: Contender, deployment: Deployment, measurement: Measurement) -> Winner:
    """Say what is known of a contender, as if it had won."""
    configuration = ModelConfig()
    configuration.CopyFrom(deployment.configuration)
    configuration.name = contender.case.candidate.model
    return Winner(None, contender.case, configuration, measurement, judge(measurement, contender.case.slo))


def describe_gain(gain: Estimate) -> str:
    """Write a gain with its interval: ``+31.2 % (+28.9 % to +33.6 %)``."""
    interval = f" ({gain.low:+.1%} to {gain.high:+.1%})" if gain.low is not None and gain.high is not None else ""
    return f"{gain.value:+.1%}{interval}"
