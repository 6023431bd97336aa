"""Who may win a search, from first figures alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_triton.case import Value
from pytest_triton.metrics import Estimate
from pytest_triton.search.objective import objective
from pytest_triton.search.selection import Result, Status, costs, finalists, front, rank

THROUGHPUT, P99, PER_INSTANCE = objective("throughput"), objective("p99"), objective("throughput/instances")


def result(
    name: str,
    value: float,
    *,
    spread: float = 1.0,
    instances: int = 1,
    status: Status = Status.MEASURED,
    p99: float | None = None,
    patch: Mapping[str, Value] | None = None,
) -> Result:
    """A candidate with a throughput; its p99 is the smaller the more it has."""
    metrics = {
        "throughput": Estimate(value, value - spread, value + spread),
        "p99": Estimate(1 / value if p99 is None else p99),
    }
    return Result(name, patch or {}, status, instances=instances, metrics=metrics)


def names(results: Iterable[Result]) -> list[str]:
    return [each.id for each in results]


def test_rank_goes_by_what_is_better_and_leaves_out_what_may_not_win() -> None:
    results = [
        result("slow", 10),
        result("fast", 20, instances=4),
        result("infeasible", 30, status=Status.INFEASIBLE),
        result("wrong", 40, status=Status.DISQUALIFIED),
        Result("unknown", {}, Status.MEASURED),
    ]
    assert names(rank(results, THROUGHPUT)) == ["fast", "slow"]
    assert names(rank(results, P99)) == ["fast", "slow"]
    assert names(rank(results, PER_INSTANCE)) == ["slow", "fast"]


def test_finalists_are_near_the_leader_or_may_be() -> None:
    results = [
        result("leader", 100, spread=5),
        result("near", 98),
        result("near, and told apart", 96, spread=0.1),
        result("may be better", 90, spread=20),
        result("told apart", 90, spread=1),
        result("far, if anyone knew", 80, spread=50),
    ]
    chosen = ["leader", "near", "near, and told apart", "may be better"]
    assert names(finalists(rank(results, THROUGHPUT), THROUGHPUT)) == chosen
    assert finalists([], THROUGHPUT) == []


def test_the_front_is_what_nothing_else_beats_in_every_objective() -> None:
    results = [
        result("throughput", 100, p99=0.9),
        result("both", 90, p99=0.5),
        result("neither", 80, p99=0.6),
        result("latency", 10, p99=0.1),
        result("infeasible", 200, p99=0.01, status=Status.INFEASIBLE),
    ]
    assert names(front(results, [THROUGHPUT, P99])) == ["throughput", "both", "latency"]
    assert names(front(results, [P99, THROUGHPUT])) == ["latency", "both", "throughput"]


def test_the_cost_is_instances_then_memory_then_fields() -> None:
    def of(instances: int, rss: float, *values: Value) -> tuple[int, dict[str, Estimate], dict[str, Value]]:
        return instances, {"rss": Estimate(rss)}, {f"field{n}": value for n, value in enumerate(values)}

    few_fields, many_fields = of(1, 6.082e8, None), of(1, 6.044e8, 1)
    found = costs([of(2, 1e8), of(1, 7e8), many_fields, few_fields])
    assert sorted(found) == found[::-1]
    # Two readings of the same configuration's memory differ by more than nothing.
    assert found[3][1] == found[2][1] < found[1][1]
    assert costs([(1, {}, {}), of(1, 1e9)]) == [(1, 0, 0), (1, 0, 0)]
