"""Ranges and powers in place of lists."""

from collections.abc import Callable
from typing import Any

import pytest

from pytest_triton import Powers, Range
from pytest_triton.errors import UsageError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (Range(1, 5), [1, 2, 3, 4, 5]),
        (Range(3, 3), [3]),
        (Range(1, 6, 2), [1, 3, 5]),
        (Range(0.1, 0.3, 0.1), [0.1, 0.2, 0.3]),
        (Range(-1, 1), [-1, 0, 1]),
        (Powers(1, 128), [1, 2, 4, 8, 16, 32, 64, 128]),
        (Powers(3, 100), [4, 8, 16, 32, 64]),
        (Powers(1, 1000, base=10), [1, 10, 100, 1000]),
    ],
)
def test_values_hold_both_ends(values: Any, expected: list[float]) -> None:
    assert list(values) == expected
    assert [type(value) for value in values] == [type(value) for value in expected]
    assert len(values) == len(expected)
    assert values[-1] == expected[-1]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Range(5, 1), r"Range(5, 1) is no range"),
        (lambda: Range(1, 5, 0), "Range(1, 5, 0) is no range"),
        (lambda: Range("1ms", "5ms"), "Range('1ms', '5ms') is no range"),  # type: ignore[arg-type]
        (lambda: Range(0, float("inf")), "is no range"),
        (lambda: Range(1, 10**9), "holds 1,000,000,000 values"),
        (lambda: Powers(0, 8), "Powers(0, 8) holds no power"),
        (lambda: Powers(5, 7), "there is no power of 2 in Powers(5, 7)"),
        (lambda: Powers(1, 8, base=1), "holds no power"),
        (lambda: Powers(1.5, 8), "whole numbers"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert says in str(caught.value)
    assert "write" in caught.value.hint or "name" in caught.value.hint
