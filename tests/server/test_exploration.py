"""Candidates of a search on a real server, whose model sleeps: what each can serve is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from python_models import write_model
from serving import serve

from pytest_triton import exploration
from pytest_triton.bench import Bench, probe_effort
from pytest_triton.case import Candidate, Case, Load
from pytest_triton.errors import MeasurementError
from pytest_triton.exploration import explore
from pytest_triton.load import WireEngine
from pytest_triton.metrics import Estimate
from pytest_triton.search.objective import objectives
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.settings import Settings
from pytest_triton.search.strategies import Keep, Probe, Trial
from pytest_triton.search.strategies.efforts import SHORT
from pytest_triton.search.strategies.exhaustive import Exhaustive
from pytest_triton.search.strategies.race import Race
from pytest_triton.search.strategies.smoke import Smoke
from pytest_triton.slo import SLO

CONFIGURATION = """backend: "python"
max_batch_size: 4
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
instance_group [ {{ count: 2 kind: KIND_CPU }} ]
"""
SLEEP, BEAT = 0.02, 0.05
# Sleeps until the next beat, so that what else runs on this machine does not slow it down when it is busy.
PACED = f"""import time
        now = time.monotonic()
        self.beat = self.beat + {BEAT} if now - self.beat < {BEAT / 2} else now + {BEAT}
        time.sleep(max(0.0, self.beat - now))"""
CAPACITY = 2 / SLEEP
BATCHING = {"dynamic_batching": {}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sleeper")
    execute = f"import time; time.sleep({SLEEP})"
    shape = {"configuration": CONFIGURATION, "dims": "[ 1 ]"}
    write_model(folder / "models", "sleeper", execute=execute, **shape)
    write_model(folder / "models", "paced", initialize="self.beat = 0.0", execute=PACED, **shape)
    with serve(folder / "models", folder) as server:
        yield Bench(server, WireEngine())


def case(load, patch=None, model="sleeper", **limits):
    return Case(Candidate(model, patch or {}), load, slo=SLO.parse(limits))


def trial(asked, *results):
    return Trial("it", asked, Settings(objectives("throughput")), results=results)


def result(name, explored):
    evaluation = explored.evaluation
    return Result(
        name,
        evaluation.case.candidate.patch,
        explored.status,
        load=evaluation.case.load,
        instances=explored.instances,
        metrics=evaluation.measurement.metrics,
        probes=explored.probes,
    )


@pytest.mark.parametrize("strategy", [Race(), Exhaustive()], ids=lambda strategy: strategy.name)
def test_the_load_of_a_candidate_is_found(bench, strategy):
    found = explore(bench, trial(case(Load("auto"), p99="1s")), strategy)
    assert found.status is Status.MEASURED
    assert 2 <= found.evaluation.case.load.concurrency <= 8
    assert found.evaluation.measurement.metrics["throughput"].value > 0.6 * CAPACITY
    assert {probe.load.concurrency for probe in found.probes} >= {1, 4}
    assert found.instances == 2


def test_who_batches_dominates_who_does_not(bench):
    best = explore(bench, trial(case(Load("auto"), BATCHING)), Race())
    found = explore(bench, trial(case(Load("auto")), result("batches", best)), Race())
    assert best.evaluation.case.load.concurrency >= 8
    assert found.status is Status.SKIPPED
    assert found.reason.startswith("dominated by batches: throughput at most ")
    assert len(found.probes) == 1


def test_latency_without_load_may_say_that_the_slo_is_out_of_reach(bench):
    found = explore(bench, trial(case(Load("auto"), p50="5ms")), Race())
    assert found.status is Status.INFEASIBLE
    assert found.reason.startswith("misses p50 <= 5.00 ms: ")
    assert found.reason.endswith(" at c1, so with any load")
    assert len(found.probes) == 1


def test_a_sweep_stops_on_the_plateau_before_a_candidate_is_deployed(bench):
    known = []
    for concurrency in (1, 2, 4, 8, 16, 32):
        load = case(Load(concurrency), model="paced")
        asked = replace(trial(load, *known), id=f"c{concurrency}", siblings=tuple(known))
        found = explore(bench, asked, Race())
        if found.evaluation is None:
            break
        known.append(result(asked.id, found))
    assert found.status is Status.SKIPPED
    assert found.reason.startswith("plateau: ")
    assert len(known) >= 3


def test_what_a_larger_load_has_shown_to_lose_has_no_figures_of_its_own(bench):
    metrics = {"throughput": Estimate(9 * CAPACITY, 8 * CAPACITY, 10 * CAPACITY)}
    best = Result("best", BATCHING, Status.MEASURED, load=Load(8), instances=2, metrics=metrics)
    found = explore(bench, replace(trial(case(Load(1)), best), loads=(Load(1), Load(8))), Race())
    assert (found.status, found.evaluation) == (Status.SKIPPED, None)
    assert found.reason.startswith("dominated by best: throughput at most ")
    assert {probe.load for probe in found.probes} == {Load(8)}


def test_a_smoke_test_sends_one_short_load(bench):
    found = explore(bench, trial(case(Load(1, rate="auto"))), Smoke())
    assert found.status is Status.MEASURED
    (probe,) = found.probes
    assert probe.load.rate == 10.0


def test_a_strategy_that_does_not_end_is_ended(bench, monkeypatch):
    monkeypatch.setattr(exploration, "MOST_PROBES", 3)

    class Endless:
        name = "endless"

        def step(self, trial):
            return Probe(Load(1), replace(SHORT, seconds=0.01, requests=1, warmup=0.0))

    with pytest.raises(MeasurementError, match="endless still wants more after 3 probes"):
        explore(bench, trial(case(Load(1))), Endless())


def test_what_was_not_deployed_has_no_figures(bench):
    class Refusing:
        name = "refusing"

        def step(self, trial):
            assert not trial.deployed
            assert (trial.instances, trial.max_batch_size, trial.batching) == (3, 4, True)
            return Keep(status=Status.SKIPPED, reason="no wish")

    patch = {"instance_group.count": 3, **BATCHING}
    found = explore(bench, trial(case(Load(1), patch)), Refusing())
    assert (found.status, found.reason, found.evaluation) == (Status.SKIPPED, "no wish", None)


@pytest.mark.parametrize("load", [Load("auto"), Load(1, rate="auto")], ids=["concurrency", "rate"])
def test_a_load_is_looked_for_outside_of_a_search_too(bench, load):
    evaluation = bench.evaluate(case(load, p95="100ms"), probe_effort(SHORT))
    found = evaluation.case.load
    assert found.open_loop == load.open_loop
    if load.open_loop:
        assert 0.3 * CAPACITY < found.rate <= CAPACITY
    else:
        assert 2 <= found.concurrency <= 8
