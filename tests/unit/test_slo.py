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
