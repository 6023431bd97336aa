"""Bounds as a user writes them."""

from typing import Any

import pytest

from pytest_triton.errors import QuantityError, UsageError
from pytest_triton.metrics import Better
from pytest_triton.slo import SLO


@pytest.mark.parametrize(
    ("limits", "direction", "limit"),
    [
        ({"p99": "25ms"}, Better.LOWER, 0.025),
        ({"throughput": "400/s"}, Better.HIGHER, 400.0),
        ({"error_rate": "0%"}, Better.LOWER, 0.0),
        ({"error_rate": 0}, Better.LOWER, 0.0),
        ({"rss": "2GiB"}, Better.LOWER, 2.0 * 2**30),
        ({"batch": 2}, Better.HIGHER, 2.0),
        ({"batch": ("<=", 2)}, Better.LOWER, 2.0),
        ({"gpu_utilization": ("<=", "90%")}, Better.LOWER, 0.9),
        ({"gpu_utilization": [">=", "90%"]}, Better.HIGHER, 0.9),
    ],
)
def test_a_bound_is_read(limits: dict[str, object], direction: Better, limit: float) -> None:
    (bound,) = SLO.parse(limits).bounds
    assert bound.direction is direction
    assert bound.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("limits", "kind", "complaint"),
    [
        ({"p99": 25}, QuantityError, "p99: 25 has no unit"),
        ({"p99": "25/s"}, QuantityError, "p99: '25/s' has an unknown unit"),
        ({"p99": None}, QuantityError, "p99: None is not a quantity"),
        ({"p99": True}, QuantityError, "p99: True is not a quantity"),
        ({"p99": ("<", "25ms")}, UsageError, "is not a bound"),
        ({"p99": ("<=",)}, UsageError, "is not a bound"),
        ({"p99": ("<=", "1ms", "2ms")}, UsageError, "is not a bound"),
        ({"p99": ("<=", 25)}, QuantityError, "p99: 25 has no unit"),
        ({"latency_p99": "25ms"}, UsageError, "unknown metric 'latency_p99'"),
    ],
)
def test_a_bad_bound_names_its_metric(limits: dict[str, Any], kind: type[UsageError], complaint: str) -> None:
    with pytest.raises(kind) as caught:
        SLO.parse(limits)
    assert complaint in caught.value.problem
    assert caught.value.hint


def test_bounds_keep_their_order_and_read_like_a_sentence() -> None:
    slo = SLO.parse({"throughput": "400/s", "p99": "25ms"})
    assert [str(bound) for bound in slo.bounds] == ["throughput >= 400.0/s", "p99 <= 25.0 ms"]
    assert slo.as_dict() == {"throughput": ">= 400.0/s", "p99": "<= 25.0 ms"}


def test_no_bounds_are_an_slo_too() -> None:
    assert SLO.parse({}) == SLO()


def test_two_directions_bound_a_metric_on_both_sides() -> None:
    slo = SLO.parse({"throughput": [(">=", "100/s"), ("<=", "300/s")], "p50": "1s"})
    assert [str(bound) for bound in slo.bounds] == ["throughput >= 100.0/s", "throughput <= 300.0/s", "p50 <= 1.00 s"]
    assert slo.as_dict() == {"throughput": ">= 100.0/s and <= 300.0/s", "p50": "<= 1.00 s"}


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (
            {"throughput": [(">=", "400/s"), ("<=", "300/s")]},
            "throughput >= 400.0/s and throughput <= 300.0/s",
        ),
        ({"p50": (">=", "20ms"), "p99": "10ms"}, "p50 >= 20.0 ms and p99 <= 10.0 ms contradict"),
        ({"p99": "10ms", "p50": (">=", "20ms")}, "p50 >= 20.0 ms and p99 <= 10.0 ms contradict"),
        ({"p999": (">=", "2s"), "max": "1s"}, "contradict"),
        ({"other:p50": (">=", "20ms"), "other:p99": "10ms"}, "contradict"),
        ({"mean": (">=", "2s"), "max": "1s"}, "contradict"),
        ({"ttfr_p50": (">=", "2s"), "ttfr_p90": "1s"}, "contradict"),
        ({"achieved_rate": "400/s", "offered_rate": ("<=", "300/s")}, "contradict"),
        ({"throughput": [(">=", "4/s"), (">=", "3/s")]}, "bounds one side twice"),
        ({"error_rate": "120%"}, "error_rate <= 120.0 %: it is never above 100.0 %"),
        ({"error_rate": "100%"}, "every measurement keeps it"),
        ({"gpu_utilization": "101%"}, "never above 100.0 %"),
        ({"throughput": "0/s"}, "every measurement keeps it"),
        ({"p99": "0ms"}, "no measurement can keep it"),
        ({"server_queue": 0}, "no measurement can keep it"),
        ({"throughput": ("<=", 0)}, "no measurement can keep it"),
        ({"p99": "-5ms"}, "at least 0"),
        ({"p99": []}, "is not a bound"),
        ({"p99": [("<=", "5ms"), "1ms"]}, "is not a bound"),
    ],
)
def test_what_no_measurement_can_keep_or_miss_is_refused(limits: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        SLO.parse(limits)
    assert complaint in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    "limits",
    [
        {"p50": "20ms", "p99": "10ms"},  # hardly meant, but a measurement can keep both
        {"p99": (">=", "20ms"), "p50": "10ms"},
        {"mean": (">=", "20ms"), "p50": "10ms"},
        {"throughput": [(">=", "300/s"), ("<=", "300/s")]},
        {"inter_response_p50": (">=", "2s"), "p99": "1s"},
        {"gpu_memory": 0},
        {"p50": (">=", "20ms"), "other:p99": "10ms"},
        {"cpu": "400%"},
        {"error_rate": [(">=", "1%"), ("<=", "5%")]},
    ],
)
def test_what_a_measurement_can_keep_and_miss_is_an_slo(limits: dict[str, Any]) -> None:
    assert SLO.parse(limits).bounds


def test_the_bounds_on_models_beside_are_theirs() -> None:
    slo = SLO.parse({"p99": "25ms", "other:p99": "50ms", "throughput": "4/s"})
    assert slo.models == ("other",)
    assert slo.on().as_dict() == {"p99": "<= 25.0 ms", "throughput": ">= 4.00/s"}
    assert slo.on("other").as_dict() == {"other:p99": "<= 50.0 ms"}


def test_where_a_bound_is_written_makes_no_other_bound() -> None:
    assert SLO.parse({"p99": "1s"}, "slo.toml [slo]") == SLO.parse({"p99": "1s"})
    assert SLO.parse({"p99": "1s"}, "slo.toml [slo]").bounds[0].source == "slo.toml [slo]"
