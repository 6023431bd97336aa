"""What a load says about how it is measured."""

import pytest

from pytest_triton.case import Load, Phases
from pytest_triton.composing import add_up
from pytest_triton.errors import EngineError
from pytest_triton.observation import ServerStatistics
from pytest_triton.protocol import cycle_of, under_way


@pytest.mark.parametrize(
    ("load", "count"),
    [
        (Load(4), 4),
        (Load(3, sequence_length=5), 3),
        (Load(rate=100.0), 1),
        (Load(8, rate=100.0), 1),
        (Load("auto", arrivals="gaps.txt"), 1),
        (Load(3, rate=100.0, sequence_length=5), 3),
    ],
)
def test_how_many_are_under_way_at_a_time(load: Load, count: int) -> None:
    assert under_way(load) == count


@pytest.mark.parametrize("load", [Load("auto"), Load("auto", rate=9.0, sequence_length=5)])
def test_what_is_to_be_looked_for_must_be_found_before(load: Load) -> None:
    with pytest.raises(EngineError, match="'auto' must be resolved"):
        under_way(load)


@pytest.mark.parametrize(
    ("load", "seconds"),
    [
        (Load(4), 0),
        (Load(rate=100.0), 0),
        (Load(rate=Phases(("10s", "100/s"), ("500ms", "100/s", "900/s"))), 10.5),
    ],
)
def test_a_load_that_changes_has_a_cycle(load: Load, seconds: float) -> None:
    assert cycle_of(load) == seconds


def test_called_models_of_several_blocks_add_up() -> None:
    one, two = ServerStatistics(success_count=3, queue_ns=5), ServerStatistics(success_count=4, execution_count=2)
    assert add_up([{"a": one}, {}, {"a": two, "b": one}]) == {
        "a": ServerStatistics(success_count=7, queue_ns=5, execution_count=2),
        "b": one,
    }
    assert add_up([]) == {}
