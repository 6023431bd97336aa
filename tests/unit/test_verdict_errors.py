"""How often verdicts on latency are wrong: the simulation of ``benchmarks/protocol.py``, reduced, with a fixed seed."""

import math
from functools import cache

import numpy as np
import pytest
from _queues import Queue
from protocol import METRIC_NAMES, Cell, find_windows, judge_binomial, misses, planned_looks, simulate, warm_up

from pytest_triton.protocol import Effort
from pytest_triton.verdict import ALPHA, ALPHA_FAIL

RUNS, SAMPLES = 100, 1_500_000
MODERATE = (
    Queue(1, "0.3", 0.5),
    Queue(1, "1", 0.7),
    Queue(2, "bimodal", 0.7),
    Queue(4, "0.1", 0.7),
    Queue(1, "stalls", 0.5),
    Queue(1, "batches", 0.7),
)
SATURATED = (Queue(1, "1", 0.95), Queue(2, "0.3", 0.95))


@cache
def simulated(queue: Queue) -> Cell:
    return simulate(queue, 5, RUNS, SAMPLES)


def share(queues: tuple[Queue, ...], name: str, rule: str, ratio: float, outcome: str) -> float:
    """The share of all runs of all queues."""
    return float(np.mean([simulated(queue)[name, rule, ratio].share(outcome) for queue in queues]))


def at_most(alpha: float, runs: int, errors: float) -> float:
    return alpha + errors * math.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_on_the_bound_hardly_any_run_is_decided(name: str) -> None:
    for queue in MODERATE:
        tally = simulated(queue)[name, "ours", 1.0]
        assert tally.share("PASS") <= at_most(ALPHA, RUNS, 3), queue
        assert tally.far == 0, queue
    runs = RUNS * len(MODERATE)
    assert share(MODERATE, name, "ours", 1.0, "PASS") <= at_most(ALPHA, runs, 2)
    assert share(MODERATE, name, "ours", 1.0, "FAIL") <= at_most(ALPHA_FAIL, runs, 2)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_near_saturation_runs_are_undecided_rather_than_wrong(name: str) -> None:
    for queue in SATURATED:
        assert simulated(queue)[name, "ours", 1.0].share("INCONCLUSIVE") >= 0.75, queue
        assert not any(miss.promised for miss in misses(queue, simulated(queue), name)), queue


@pytest.mark.parametrize(
    ("name", "ratio", "outcome", "least"),
    [("p95", 0.25, "PASS", 0.75), ("p95", 4.0, "FAIL", 0.99), ("p99", 0.25, "PASS", 0.2), ("p99", 4.0, "FAIL", 0.75)],
)
def test_clear_cases_are_decided(name: str, ratio: float, outcome: str, least: float) -> None:
    assert share(MODERATE, name, "ours", ratio, outcome) >= least
    wrong = {"PASS": "FAIL", "FAIL": "PASS"}[outcome]
    assert share(MODERATE, name, "ours", ratio, wrong) == 0


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_a_miss_by_far_is_found_early(name: str) -> None:
    tally = simulated(MODERATE[0])[name, "ours", 4.0]
    assert tally.samples < 6 * planned_looks(name, Effort(), 200.0)[0]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_the_rules_of_others_decide_on_the_bound_by_chance(name: str) -> None:
    for rule in ("binomial", "windows"):
        assert share(MODERATE, name, rule, 1.0, "PASS") > 0.25
        assert share(MODERATE, name, rule, 1.0, "PASS") + share(MODERATE, name, rule, 1.0, "FAIL") > 0.5


# What the simulation stands on


def test_queues_have_the_latency_of_theory() -> None:
    rng = np.random.default_rng(1)
    ends = np.array([0.5, 0.95])
    theory = -np.log(1 - ends) / (1 - 0.7)  # M/M/1
    assert Queue(1, "1", 0.7).quantiles(rng, ends, 1_500_000) == pytest.approx(theory, rel=0.04)
    latencies, _ = Queue(2, "1", 0.7).draw(rng, 200, 5000)
    assert latencies.mean() == pytest.approx(1 / (1 - 0.7**2), rel=0.04)  # M/M/2
    alone, _ = Queue(1, "bimodal", 0.01).draw(rng, 20, 5000)
    assert alone.mean() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("service", ["0.1", "drift", "stalls", "batches"])
def test_requests_complete_at_the_rate_of_arrivals(service: str) -> None:
    latencies, done = Queue(2, service, 0.5).draw(np.random.default_rng(2), 4, 5000)  # type: ignore[arg-type]
    assert (latencies > 0).all()
    assert (np.diff(done) >= 0).all()
    assert (done[:, -1] - done[:, 0]) == pytest.approx(5000, rel=0.1)


def test_looks_double_and_end_with_all_there_is_time_for() -> None:
    assert planned_looks("p95", Effort(), 200.0) == [360, 720, 1440, 12000]
    assert planned_looks("p99", Effort(limit=5.0), 200.0) == [713, 1000]


def test_a_warm_up_goes_on_until_it_is_steady_or_at_its_limit() -> None:
    rng = np.random.default_rng(3)
    noise = rng.exponential(0.1, 5000)
    assert warm_up(noise, Effort(), 200.0) == (200, True)
    size, steady = warm_up(noise + 5.0 * np.arange(5000), Effort(), 200.0)
    assert (size, steady) == (2000, False)


def test_three_windows_within_ten_percent_are_stable() -> None:
    done, ones = np.arange(20_000.0), np.ones(20_000)
    stable = find_windows(ones, done, 200.0)
    assert stable.used == 3000
    assert stable.judge(2.0, 0.99) == ("PASS", 3000)
    assert stable.judge(0.5, 0.99) == ("FAIL", 3000)
    early = ones.copy()
    early[:2000] = 2.0
    assert find_windows(early, done, 200.0).used == 5000
    assert find_windows(1.2 ** (done / 1000), done, 200.0).judge(1e9, 0.99) == ("INCONCLUSIVE", 10_000)


def test_the_binomial_test_takes_requests_for_independent() -> None:
    fast = np.zeros(12_000)
    assert judge_binomial(fast, 1.0, 0.99, [436, 437]) == ("PASS", 437)
    assert judge_binomial(fast, -1.0, 0.99, [400]) == ("FAIL", 400)
