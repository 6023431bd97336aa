"""What every strategy must do: end, keep to the budget, and leave the best candidate in the race."""

from __future__ import annotations

import pytest
from surfaces import LOADS, Simulation, Surface, winner

from pytest_triton.case import Load
from pytest_triton.search.selection import Status
from pytest_triton.search.strategies.exhaustive import Exhaustive
from pytest_triton.search.strategies.race import Race
from pytest_triton.slo import SLO

STRATEGIES = {"race": Race, "exhaustive": Exhaustive}
SEEDS = range(20)
AUTO, RATE = Load("auto"), Load(1, rate="auto")
SPACE = [
    Surface(f"i{instances}-b{batch}", instances, batch, base=0.004 + 0.0015 * instances)
    for batch in (1, 2, 4, 8, 16, 32)
    for instances in (1, 2, 3)
]
SLOS = {"no SLO": {}, "an SLO": {"p99": "25ms"}}


@pytest.fixture(params=STRATEGIES)
def make(request):
    return STRATEGIES[request.param]


def throughput(result):
    return result.metrics["throughput"].value


def found(simulation, surfaces):
    """Return the true throughput of what a search settles on, as a share of the best there is."""
    best = winner(simulation.results, throughput)
    surface = next(each for each in surfaces if best.id.startswith(f"{each.id}-"))
    return surface.throughput(best.load) / max(each.best(simulation.slo, LOADS) for each in surfaces)


@pytest.mark.parametrize("limits", SLOS.values(), ids=SLOS)
def test_the_best_of_a_space_is_found(make, limits):
    shares = []
    for seed in SEEDS:
        simulation = Simulation(make(), seed, limits)
        simulation.search([(surface, AUTO) for surface in SPACE])
        shares.append(found(simulation, SPACE))
    assert sum(share < 0.92 for share in shares) <= 2
    assert sum(shares) / len(shares) > 0.97


@pytest.mark.parametrize("limits", SLOS.values(), ids=SLOS)
def test_the_best_of_declared_loads_is_found(make, limits):
    surfaces = SPACE[::2]
    shares = []
    for seed in SEEDS:
        simulation = Simulation(make(), seed, limits)
        simulation.search([(surface, load) for surface in surfaces for load in LOADS[:7]])
        shares.append(found(simulation, surfaces))
    assert sum(share < 0.95 for share in shares) <= 1


def test_what_is_chosen_keeps_the_slo(make):
    for seed in SEEDS:
        simulation = Simulation(make(), seed, {"p99": "25ms"})
        best = winner(simulation.search([(surface, AUTO) for surface in SPACE]), throughput)
        surface = next(each for each in SPACE if best.id.startswith(f"{each.id}-"))
        assert 1.2 * surface.mean(best.load) < 0.027


def test_who_cannot_keep_the_slo_is_infeasible(make):
    slow = Surface("slow", base=0.05)
    (result,) = Simulation(make(), limits={"p99": "25ms"}).search([(slow, AUTO)])
    assert result.status is Status.INFEASIBLE
    assert "p99 <= 25.0 ms" in result.reason


def test_a_batchers_delay_makes_nobody_infeasible(make):
    """Alone in the queue a request waits for others; with enough of them it does not."""
    patient = Surface("patient", batch=8, delay=0.02)
    (result,) = Simulation(make(), limits={"p99": "20ms"}).search([(patient, AUTO)])
    assert result.status is Status.MEASURED
    assert result.load.concurrency >= 8


@pytest.mark.parametrize("objective", ["p99", "mean"])
def test_latency_is_best_without_load(make, objective):
    results = Simulation(make(), objective=objective).search([(surface, AUTO) for surface in SPACE[:3]])
    assert next(result.load.concurrency for result in results if result.status is Status.MEASURED) == 1


def test_a_lower_bound_is_reached_with_as_little_load_as_it_takes(make):
    simulation = Simulation(make(), limits={"throughput": "900/s"}, objective="p99")
    simulation.slo = SLO.parse({"throughput": "900/s"})
    (result,) = simulation.search([(Surface("one", instances=2, batch=16), AUTO)])
    assert throughput(result) >= 900
    assert result.load.concurrency <= 32


def test_the_rate_that_keeps_the_slo_is_found(make):
    surface = Surface("one", instances=2, batch=1)
    (result,) = Simulation(make(), limits={"p99": "30ms"}).search([(surface, RATE)])
    # 1.2 x mean is 30 ms at 80 % of what two instances serve in 5 ms each.
    assert 0.70 * surface.capacity <= result.load.rate <= 0.85 * surface.capacity


def test_a_budget_is_kept_and_what_is_left_is_skipped(make):
    simulation = Simulation(make(budget=10.0))
    results = simulation.search([(surface, AUTO) for surface in SPACE])
    assert simulation.seconds < 14
    skipped = [result for result in results if "the budget of 10.0 s is used up" in result.reason]
    assert skipped
    assert results[-len(skipped) :] == skipped


def test_every_candidate_that_is_not_measured_has_a_reason(make):
    for result in Simulation(make(), limits={"p99": "12ms"}).search([(surface, AUTO) for surface in SPACE]):
        assert result.reason or result.status is Status.MEASURED


def seconds(strategy, cases, limits):
    simulation = Simulation(strategy, limits=limits)
    simulation.search(cases)
    return simulation.seconds


@pytest.mark.parametrize("limits", SLOS.values(), ids=SLOS)
@pytest.mark.parametrize("loads", [[AUTO], LOADS[:7]], ids=["looked for", "declared"])
def test_a_race_takes_much_less_time_than_measuring_everything(limits, loads):
    cases = [(surface, load) for surface in reversed(SPACE) for load in loads]
    assert seconds(Race(), cases, limits) < 0.7 * seconds(Exhaustive(), cases, limits)


def test_a_race_says_why_it_dropped_a_candidate():
    fast, slow = Surface("fast", instances=3), Surface("slow", instances=1)
    loads = LOADS[:5]
    results = Simulation(Race(), noise=0.01).search([(each, load) for each in (fast, slow) for load in loads])
    reasons = {result.id: result.reason for result in results if result.status is Status.SKIPPED}
    assert reasons["fast-16"].startswith("plateau: fast-8 ")
    assert "in throughput from c4 to c8" in reasons["fast-16"]
    assert reasons["slow-1"].startswith("dominated by fast-")
    assert reasons["slow-16"].startswith("dominated by fast-")


def test_a_race_does_not_measure_what_less_load_has_shown_to_miss():
    results = Simulation(Race(), limits={"p99": "10ms"}).search([(Surface("one"), load) for load in LOADS[:5]])
    assert [result.status for result in results] == [Status.MEASURED] + 4 * [Status.INFEASIBLE]
    assert not results[-1].probes
    assert "one-2 misses p99 <= 10.0 ms: " in results[-1].reason
