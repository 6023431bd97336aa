"""The one table of metrics."""

import math
from collections.abc import Iterable

import pytest

from pytest_triton.errors import UsageError
from pytest_triton.metrics import METRICS, Better, Estimate, metric
from pytest_triton.quantities import Unit
from pytest_triton.series import SERIES


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("throughput", Unit.PER_SECOND, Better.HIGHER),
        ("p99", Unit.SECONDS, Better.LOWER),
        ("error_rate", Unit.FRACTION, Better.LOWER),
        ("rss", Unit.BYTES, Better.LOWER),
        ("batch", Unit.COUNT, Better.HIGHER),
    ],
)
def test_a_metric_knows_its_unit_and_which_way_is_better(name: str, unit: Unit, better: Better) -> None:
    assert (metric(name).unit, metric(name).better) == (unit, better)


QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


@pytest.mark.parametrize(
    ("prefix", "series", "names"),
    [
        ("", "latency", QUANTILES),
        ("ttfr_", "ttfr", QUANTILES),
        ("inter_response_", "inter_response", QUANTILES),
        ("send_lag_", "send_lag", ("p50", "p99")),
    ],
)
def test_percentiles_know_their_series(prefix: str, series: str, names: Iterable[str]) -> None:
    found = {name: m.quantile for name, m in METRICS.items() if m.series == series and m.quantile is not None}
    assert found == {f"{prefix}{name}": QUANTILES[name] for name in names}


def test_what_has_a_quantile_has_a_series_that_there_is() -> None:
    assert {m.series for m in METRICS.values() if m.quantile is not None} == set(SERIES)


def test_every_metric_says_what_it_means() -> None:
    assert all(m.meaning and m.name == name for name, m in METRICS.items())


@pytest.mark.parametrize(
    ("name", "meant"), [("p98", "p99"), ("troughput", "throughput"), ("gpu_util", "gpu_utilization")]
)
def test_an_unknown_metric_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown metric '{name}'") as caught:
        metric(name)
    assert "did you mean" in caught.value.hint
    if name != "p98":  # Every percentile is as near.
        assert meant in caught.value.hint


def test_a_metric_unlike_any_is_answered_with_all() -> None:
    with pytest.raises(UsageError) as caught:
        metric("zzz")
    assert "throughput" in caught.value.hint


def test_a_model_beside_has_metrics_of_its_own() -> None:
    found = metric("other:p99")
    assert (found.name, found.plain, found.model) == ("other:p99", "p99", "other")
    assert (found.quantile, found.unit) == (0.99, Unit.SECONDS)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("other:p98", "unknown metric 'other:p98'"),
        ("other:rss", "the whole server's"),
        ("other:load_time", "is not known of a model beside"),
        (":p99", "names no model"),
    ],
)
def test_what_a_model_beside_has_not_is_told(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        metric(name)
    assert caught.value.hint


def test_an_end_of_an_interval_is_a_number_or_unknown() -> None:
    assert Estimate(math.inf, 0.5, math.inf) == Estimate(math.inf, 0.5, None)
    assert Estimate(1.0, math.nan, 2.0) == Estimate(1.0, None, 2.0)
