"""When the requests of an open loop are due."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from pytest_triton.load.arrivals import due_times

FOREVER = math.inf
STEADY = [(FOREVER, 1000.0, 1000.0)]


def first(count: int, **options: object) -> list[int]:
    return list(itertools.islice(due_times(**options), count))  # type: ignore[arg-type]


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    assert first(4, phases=STEADY, constant=True) == [0, 1_000_000, 2_000_000, 3_000_000]


def test_poisson_arrivals_have_exponential_intervals() -> None:
    gaps = np.diff(first(20_001, phases=STEADY, seed=3)) / 1e9
    assert kstest(gaps, "expon", args=(0, 1e-3)).pvalue > 0.01


def test_the_seed_fixes_the_arrivals() -> None:
    assert first(100, phases=STEADY, seed=1) == first(100, phases=STEADY, seed=1)
    assert first(100, phases=STEADY, seed=1) != first(100, phases=STEADY, seed=2)


@pytest.mark.parametrize(
    "options", [{"phases": STEADY}, {"phases": STEADY, "constant": True}, {"intervals": [5, 7, 1]}]
)
def test_parts_together_are_the_whole(options: dict[str, object]) -> None:
    parts = [first(100, part=part, parts=3, **options) for part in range(3)]
    assert sorted(itertools.chain(*parts)) == first(300, **options)


def test_intervals_begin_anew_after_the_last() -> None:
    assert first(5, intervals=[10, 20]) == [10_000, 30_000, 40_000, 60_000, 70_000]


@pytest.mark.parametrize(
    ("phases", "between", "expected"),
    [
        ([(1.0, 100.0, 100.0), (1.0, 0.0, 0.0)], (0.0, 1.0), 100),
        ([(1.0, 100.0, 100.0), (1.0, 0.0, 0.0)], (1.0, 2.0), 0),
        ([(1.0, 100.0, 100.0), (1.0, 0.0, 0.0)], (2.0, 3.0), 100),
        ([(1.0, 0.0, 200.0)], (0.0, 0.5), 25),
        ([(1.0, 0.0, 200.0)], (0.5, 1.0), 75),
        ([(1.0, 200.0, 0.0)], (0.0, 0.5), 75),
        ([(2.0, 50.0, 50.0), (1.0, 400.0, 400.0)], (2.0, 3.0), 400),
    ],
)
def test_as_many_arrive_as_the_rate_says(
    phases: Sequence[tuple[float, float, float]], between: tuple[float, float], expected: int
) -> None:
    times = np.array(first(1000, phases=phases, constant=True)) / 1e9
    low, high = between
    assert abs(int(np.sum((times >= low) & (times < high))) - expected) <= 1


rates = st.floats(0, 1e4)


@given(
    st.lists(st.tuples(st.floats(0.01, 100), rates, rates), min_size=1, max_size=5).filter(
        lambda phases: any(first + last > 1 for _, first, last in phases)
    ),
    st.booleans(),
)
def test_time_never_goes_back(phases: list[tuple[float, float, float]], constant: bool) -> None:
    times = first(50, phases=phases, constant=constant)
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
