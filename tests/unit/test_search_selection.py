"""Who wins a search, from figures alone."""

import pytest

from pytest_triton.errors import UsageError
from pytest_triton.metrics import METRICS, Estimate
from pytest_triton.search.selection import Result, Status, finalists, objective, rank
from pytest_triton.search.strategies import Exhaustive, Measure, Skip

THROUGHPUT, P99 = METRICS["throughput"], METRICS["p99"]


def result(name, value, *, spread=1.0, instances=1, status=Status.MEASURED, patch=None, rss=0.0):
    metrics = {
        "throughput": Estimate(value, value - spread, value + spread),
        "p99": Estimate(1 / value),
        "rss": Estimate(rss),
    }
    return Result(name, patch or {}, status, instances=instances, metrics=metrics)


def names(results):
    return [result.id for result in results]


def test_rank_goes_by_what_is_better_and_leaves_out_what_may_not_win():
    results = [
        result("slow", 10),
        result("fast", 20),
        result("infeasible", 30, status=Status.INFEASIBLE),
        result("wrong", 40, status=Status.DISQUALIFIED),
    ]
    assert names(rank(results, THROUGHPUT)) == ["fast", "slow"]
    assert names(rank(results, P99)) == ["fast", "slow"]


def test_a_tie_goes_to_the_cheapest():
    results = rank(
        [
            result("three", 100, instances=3),
            result("two-more", 99, instances=2, patch={"dynamic_batching": {}}),
            result("two", 98, instances=2, patch={"dynamic_batching": None}),
            result("far", 90, instances=1),
            result("near, but told apart", 98, instances=1, spread=0.1),
        ],
        THROUGHPUT,
    )
    assert names(finalists(results, THROUGHPUT)) == ["two", "two-more", "three"]


def test_nobody_is_no_finalist():
    assert finalists([], THROUGHPUT) == []


def test_objective_must_be_one():
    assert objective("p99") is P99
    with pytest.raises(UsageError, match="speed"):
        objective("speed")
    with pytest.raises(UsageError, match="Bound it"):
        objective("error_rate")


def test_exhaustive_measures_all_alike_within_its_budget():
    strategy = Exhaustive(effort=Measure(1, 10, 5), budget=60)
    assert strategy.decide([], elapsed=59) == Measure(1, 10, 5)
    assert strategy.decide([], elapsed=60) == Skip("the budget of 60.0 s is used up")
    assert isinstance(Exhaustive().decide([], elapsed=1e9), Measure)
