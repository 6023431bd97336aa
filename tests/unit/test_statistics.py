"""Statistics on series whose truth is known. Every simulation has a fixed seed; tolerances allow 3 standard errors."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_triton.clustering import batch_means, inflation, quantile
from pytest_triton.exceedance import latency_test, minimum_effective, requests_for_verdict, smallest_passing
from pytest_triton.metrics import Estimate
from pytest_triton.statistics import (
    binomial_cdf,
    mean_interval,
    proportion_bounds,
    proportion_interval,
    quantile_interval,
    quantile_intervals,
    ratio_interval,
    spread_of_mean,
    steady_start,
    throughput_interval,
)

Series = NDArray[np.float64]
RUNS = 300


def independent(rng: np.random.Generator, size: int) -> Series:
    return rng.exponential(1.0, size)


def queue(rng: np.random.Generator, size: int, load: float = 0.7) -> Series:
    """Latencies of a single-server queue in equilibrium (M/M/1, Lindley's recursion); mean 1 / (1 - load)."""
    work = rng.exponential(1.0, size)
    walk = np.cumsum(work - rng.exponential(1 / load, size))
    before = np.concatenate(([0.0], walk[:-1])) + (rng.exponential(1 / (1 - load)) if rng.random() < load else 0.0)
    return before - np.minimum(0.0, np.minimum.accumulate(before)) + work


def drifting(rng: np.random.Generator, size: int, memory: float = 0.9) -> Series:
    """A first-order autoregressive series in equilibrium: normal, mean 0, variance 1."""
    from scipy.signal import lfilter, lfiltic

    noise = rng.normal(0, math.sqrt(1 - memory**2), size)
    series: Series = lfilter([1.0], [1.0, -memory], noise, zi=lfiltic([1.0], [1.0, -memory], [rng.normal()]))[0]
    return series


# Warm-up


@pytest.mark.parametrize("size", [0, 1, 2, 19])
def test_a_series_too_short_to_say_is_taken_whole(size: int) -> None:
    assert steady_start(np.ones(size)) == 0


def test_constant_latency_is_steady_from_the_start() -> None:
    assert steady_start(np.full(200, 0.01)) == 0


def test_the_warm_part_is_cut_off() -> None:
    rng = np.random.default_rng(1)
    series = 10 + rng.normal(0, 0.5, 400)
    series[:100] += 20
    cut = steady_start(series)
    assert cut is not None
    assert 95 <= cut <= 130


@pytest.mark.parametrize("slope", [10.0, -10.0])
def test_a_series_that_never_settles_has_no_start(slope: float) -> None:
    rng = np.random.default_rng(2)
    assert steady_start(20 + rng.normal(0, 0.5, 400) + slope * np.arange(400) / 400) is None


def test_steady_series_are_rarely_called_unsteady() -> None:
    rng = np.random.default_rng(3)
    unsteady = sum(steady_start(independent(rng, 400)) is None for _ in range(RUNS))
    assert unsteady <= 0.05 * RUNS


def test_failures_do_not_upset_the_search() -> None:
    assert steady_start(np.full(100, np.inf)) == 0
    with_failure = np.ones(100)
    with_failure[50] = np.inf
    assert steady_start(with_failure) is not None


# What the observations are worth


def test_batch_means_use_every_value() -> None:
    means = batch_means(np.arange(50.0), 20)
    assert len(means) == 20
    assert means.min() >= 0
    assert batch_means(np.arange(40.0), 20).tolist() == [2 * i + 0.5 for i in range(20)]


def test_correlated_exceedances_are_worth_less() -> None:
    rng = np.random.default_rng(4)

    def typical(draw: Callable[[np.random.Generator, int], Series]) -> float:
        found = []
        for _ in range(50):
            series = draw(rng, 4000)
            found.append(inflation(series > np.quantile(series, 0.95), series, 0.95))
        return float(np.median(found))

    assert 1.2 < typical(independent) < 2.2  # 1.63 is the price of caution
    assert typical(queue) > 10
    assert typical(drifting) > 5


def test_where_few_exceed_the_bound_the_sample_s_own_tail_speaks() -> None:
    rng = np.random.default_rng(12)
    found = []
    for _ in range(50):
        series = queue(rng, 4000)
        found.append(inflation(series > series.max(), series, 0.95))
    assert np.median(found) > 10


@pytest.mark.parametrize("size", [1, 2, 19, 20, 1000])
@pytest.mark.parametrize("value", [0.5, 1.0, math.inf])
def test_inflation_is_finite_on_constant_series(size: int, value: float) -> None:
    series = np.full(size, value)
    assert 1.0 <= inflation(series > 0.7, series, 0.99) < 2.0
    assert 1.0 <= inflation(series > 0.7) < 2.0


# The test of a bound


@pytest.mark.parametrize(
    ("over", "p", "confidence", "queries"), [(0, 0.99, 0.99, 459), (1, 0.99, 0.99, 662), (2, 0.99, 0.99, 838)]
)
def test_the_kernel_agrees_with_mlperf(over: int, p: float, confidence: float, queries: int) -> None:
    assert smallest_passing(over, p, 1 - confidence) == queries


@pytest.mark.parametrize(("p", "least"), [(0.5, 7), (0.9, 42), (0.95, 86), (0.99, 437), (0.999, 4380)])
def test_below_the_minimum_nothing_passes(p: float, least: int) -> None:
    alpha = 0.05 / 4
    assert minimum_effective(p, alpha) == least == smallest_passing(0, p, alpha)
    assert binomial_cdf(0, least - 1, 1 - p) > alpha >= binomial_cdf(0, least, 1 - p)


def test_binomial_cdf_at_its_ends() -> None:
    assert (binomial_cdf(-1, 10, 0.1), binomial_cdf(10, 10, 0.1), binomial_cdf(99, 10, 0.1)) == (0.0, 1.0, 1.0)
    assert binomial_cdf(1, 2, 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("draw", "limit", "naive_errs"),
    [
        (independent, -math.log(0.05), False),
        (queue, -math.log(0.05) / (1 - 0.7), True),
        (drifting, 1.6449, True),
    ],
)
def test_a_bound_exactly_at_the_truth_rarely_passes(
    draw: Callable[[np.random.Generator, int], Series], limit: float, naive_errs: bool
) -> None:
    """The plain binomial test, which MLPerf uses, passes correlated series several times as often as it may."""
    rng = np.random.default_rng(5)
    passed = failed = naive = 0
    for _ in range(RUNS):
        test = latency_test(draw(rng, 2000), limit, 0.95, alpha=0.05, alpha_fail=0.01)
        passed += test.kept is True
        failed += test.kept is False
        naive += binomial_cdf(test.over, test.size, 0.05) <= 0.05
    assert passed / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
    assert failed / RUNS <= 0.03
    assert (naive / RUNS > 0.2) is naive_errs


def test_clear_cases_are_decided() -> None:
    rng = np.random.default_rng(6)
    keeps = [latency_test(independent(rng, 2000), 6.0, 0.95, alpha=0.0125, alpha_fail=0.0025) for _ in range(20)]
    misses = [latency_test(independent(rng, 2000), 1.5, 0.95, alpha=0.0125, alpha_fail=0.0025) for _ in range(20)]
    assert all(test.kept is True for test in keeps)
    assert all(test.kept is False for test in misses)


def test_one_slow_spell_far_below_the_limit_does_not_leave_it_open() -> None:
    """Every slow request lies in one spell, so the sample's own tail is one cluster; nothing came near the limit."""
    latencies = np.random.default_rng(1).normal(0.090, 0.004, 1000)
    latencies[400:460] += 0.020
    alphas = {"alpha": 0.0125, "alpha_fail": 0.0025}
    assert latency_test(latencies, 0.500, 0.95, **alphas).kept is True
    # Not with a limit that is less than four times as far, one request beyond it, or a sample half as long.
    assert latency_test(latencies, 0.300, 0.95, **alphas).kept is None
    assert latency_test(np.append(latencies, 0.6), 0.500, 0.95, **alphas).kept is None
    assert latency_test(latencies[300:600], 0.500, 0.95, **alphas).kept is None


def test_failures_exceed_every_bound() -> None:
    series = np.ones(1000)
    series[::10] = np.inf
    assert latency_test(series, 1e9, 0.99, alpha=0.0125, alpha_fail=0.0025).kept is False
    assert latency_test(np.full(100, np.inf), 1e9, 0.99, alpha=0.0125, alpha_fail=0.0025).kept is False


@pytest.mark.parametrize("size", [0, 1, 2, 19])
def test_a_handful_decides_nothing(size: int) -> None:
    assert latency_test(np.ones(size), 2.0, 0.99, alpha=0.0125, alpha_fail=0.0025).kept is None


def test_what_is_said_to_be_needed_decides() -> None:
    rng = np.random.default_rng(7)
    series = independent(rng, 400)
    limit = float(np.quantile(series, 0.97))  # 3 % over where 5 % may be
    test = latency_test(series, limit, 0.95, alpha=0.0125, alpha_fail=0.0025)
    assert test.kept is None
    more = requests_for_verdict(test, 0.95, alpha=0.0125, alpha_fail=0.0025)
    assert more is not None
    longer = np.tile(series, math.ceil(1 + more / 400) + 1)
    assert latency_test(longer, limit, 0.95, alpha=0.0125, alpha_fail=0.0025).kept is True


def test_a_share_at_its_limit_is_never_decided() -> None:
    series = np.tile(np.r_[np.ones(19), 3.0], 50)
    test = latency_test(series, 2.0, 0.95, alpha=0.0125, alpha_fail=0.0025)
    assert test.kept is None
    assert requests_for_verdict(test, 0.95, alpha=0.0125, alpha_fail=0.0025) is None


# Estimates and intervals


def coverage(draw: Callable[[], Estimate], truth: float) -> float:
    """The share of intervals that hold the truth; an unknown end holds it."""
    hits = 0
    for _ in range(RUNS):
        e = draw()
        assert not math.isnan(e.value)
        hits += (e.low is None or e.low <= truth) and (e.high is None or truth <= e.high)
    return hits / RUNS


@pytest.mark.parametrize("size", [20, 100, 1000])
def test_intervals_cover_the_truth(size: int) -> None:
    rng = np.random.default_rng(8)

    def arrivals() -> Series:
        done = np.cumsum(rng.exponential(1.0, 2 * size + 50))
        return done[done < size]

    assert coverage(lambda: quantile_interval(independent(rng, size), 0.5), math.log(2)) >= 0.94
    assert coverage(lambda: quantile_interval(independent(rng, size), 0.95), -math.log(0.05)) >= 0.94
    assert coverage(lambda: mean_interval(independent(rng, size)), 1.0) >= 0.88
    assert coverage(lambda: throughput_interval(arrivals(), 0.0, size), 1.0) >= 0.90
    assert coverage(lambda: proportion_interval(rng.random(size) < 0.05), 0.05) >= 0.94


def test_intervals_cover_the_truth_of_correlated_series() -> None:
    rng = np.random.default_rng(9)
    assert coverage(lambda: mean_interval(queue(rng, 10_000)), 1 / 0.3) >= 0.88
    assert coverage(lambda: quantile_interval(queue(rng, 10_000), 0.95), -math.log(0.05) / 0.3) >= 0.92


def test_a_quantile_is_a_value_of_the_sample() -> None:
    series = np.arange(1.0, 101.0)
    assert [quantile(series, p) for p in (0.5, 0.95, 0.99, 0.999)] == [50.0, 95.0, 99.0, 100.0]
    assert [e.value for e in quantile_intervals(series, (0.5, 0.99))] == [50.0, 99.0]


def test_too_few_have_no_upper_end() -> None:
    estimate = quantile_interval(np.random.default_rng(10).exponential(1.0, 50), 0.999)
    assert estimate.high is None
    assert estimate.low is not None
    assert estimate.low <= estimate.value


@pytest.mark.parametrize("size", [1, 2, 19, 20, 39, 40, 41])
def test_equal_values_have_an_interval_without_width(size: int) -> None:
    series = np.full(size, 0.5)
    assert mean_interval(series).value == 0.5
    assert mean_interval(series).low in (None, 0.5)
    for estimate in quantile_intervals(series, (0.5, 0.99, 0.999)):
        assert estimate.value == 0.5
        assert {estimate.low, estimate.high} <= {None, 0.5}


def test_failures_make_a_quantile_infinite_not_undefined() -> None:
    series = np.r_[np.ones(95), np.full(5, np.inf)]
    p50, p99 = quantile_intervals(series, (0.5, 0.99))
    assert p50.value == 1.0
    assert p99.value == math.inf
    assert p99.high is None


def test_a_mean_of_one_has_no_interval() -> None:
    assert mean_interval(np.array([0.5])) == Estimate(0.5)
    assert spread_of_mean(np.array([0.5])).bound(0.05) is None


def test_throughput_counts_inferences_and_idle_time() -> None:
    done = np.arange(0.1, 10.05, 0.1)
    steady = throughput_interval(done, 0.0, 10.0, batch_size=4)
    assert steady.value == pytest.approx(40.0)
    assert steady.low == pytest.approx(40.0)
    stalled = throughput_interval(done, 0.0, 20.0, batch_size=4)
    assert stalled.value == pytest.approx(20.0)
    assert stalled.low is not None
    assert stalled.low < 12


@pytest.mark.parametrize("done", [[], [0.5], [0.2, 0.4, 0.6]])
def test_throughput_of_a_handful_has_no_interval(done: list[float]) -> None:
    assert throughput_interval(np.array(done), 0.0, 1.0) == Estimate(len(done))


def test_throughput_of_no_time_is_nothing() -> None:
    assert throughput_interval(np.array([1.0]), 1.0, 1.0) == Estimate(0.0)


@pytest.mark.parametrize(("some", "low", "high"), [(0, 0.0, 0.0362), (1, 0.0003, 0.0545), (100, 0.9638, 1.0)])
def test_clopper_pearson(some: int, low: float, high: float) -> None:
    assert proportion_bounds(some, 100, 0.025) == pytest.approx((low, high), abs=1e-4)


def test_failures_in_a_bunch_say_less_than_scattered_ones() -> None:
    scattered, bunched = np.zeros(2000, bool), np.zeros(2000, bool)
    scattered[::50] = True
    bunched[:40] = True
    assert (proportion_interval(bunched).high or 0) > (proportion_interval(scattered).high or 1)


@pytest.mark.parametrize("pairs", [6, 7, 8, 16])
def test_ratios_cover_the_truth(pairs: int) -> None:
    rng = np.random.default_rng(11)
    assert coverage(lambda: ratio_interval(rng.lognormal(0.1, 0.2, pairs).tolist()), math.exp(0.1)) >= 0.92


def test_permutation_needs_six_pairs() -> None:
    five, six = ratio_interval([1.1] * 5), ratio_interval([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert five == Estimate(pytest.approx(1.1), None, None)
    assert six.low == pytest.approx(1.0)
    assert six.high == pytest.approx(1.5)


@pytest.mark.parametrize("ratios", [[], [0.0, 1.0], [math.nan], [math.inf], [-1.0]])
def test_ratios_must_be_positive(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        ratio_interval(ratios)


def test_a_limit_that_everything_exceeds_by_far_is_missed_however_latency_drifts() -> None:
    # One long spell after the other: the sample is worth two or three independent requests.
    drifting = np.repeat([0.2, 0.3, 0.25, 0.35], 250)
    assert latency_test(drifting, 0.001, 0.5, alpha=0.0125, alpha_fail=0.0025).kept is False
    assert latency_test(drifting, 0.24, 0.5, alpha=0.0125, alpha_fail=0.0025).kept is None
