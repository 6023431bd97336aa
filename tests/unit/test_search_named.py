"""Candidates given whole, by their names."""

from typing import Any

import pytest

from pytest_triton.errors import AxisError
from pytest_triton.repository.fields import canonical_path, canonical_value
from pytest_triton.search.named import are_named, read_named
from pytest_triton.search.names import Reader
from pytest_triton.search.space import SpacePoint

READER = Reader(canonical_path, canonical_value, lambda _, value: value)


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"small": {"instance_count": 1}, "big": {}}, True),
        ({"instance_count": [1]}, False),
        ({"small": {}, "instance_count": [1]}, False),
        ({}, False),
    ],
)
def test_a_mapping_of_mappings_names_candidates(axes: Any, named: bool) -> None:
    assert are_named(axes) is named


def test_candidates_keep_names_and_order_and_may_hold_a_load() -> None:
    found = read_named(
        {
            "small": {"instance_count": 1},
            "i4+delay": {"instance_count": 4, "max_queue_delay": "1ms", "concurrency": 8, "server.exit_on_error": True},
        },
        READER,
    )
    assert found == (
        SpacePoint("small", {"instance_group.count": 1}),
        SpacePoint(
            "i4+delay",
            {"instance_group.count": 4, "dynamic_batching.max_queue_delay_microseconds": 1000},
            {"concurrency": 8},
            {"exit_on_error": True},
        ),
    )


@pytest.mark.parametrize(
    ("candidates", "says"),
    [
        ({"a b": {}}, "'a b' is no name of a candidate"),
        ({"": {}}, "'' is no name of a candidate"),
        ({1: {}}, "1 is no name of a candidate"),
        ({"best": {}}, "no candidate can be named 'best'"),
        ({"default": {}}, "no candidate can be named 'default'"),
        ({"dynamic_batching": {}}, "an axis needs a list of values"),
        ({"concurrency": {}}, "an axis needs a list of values"),
        ({"a": {"instance_cout": 1}}, "candidate 'a': ModelConfig has no field 'instance_cout'"),
        ({"a": {"instance_count": [1, 2]}}, "candidate 'a': instance_group.count: [1, 2] is refused"),
        ({"a": {"instance_count": 1, "instance_group.count": 2}}, "candidate 'a': instance_group.count is set twice"),
        ({"a": {"dynamic_batching": None, "max_queue_delay": 1}}, "which it removes"),
        ({"a": {"instance_count": 1}, "b": {"instance_group.count": 1}}, "candidates 'a' and 'b' are the same"),
    ],
)
def test_what_cannot_be_meant(candidates: Any, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        read_named(candidates, READER)
    assert says in str(caught.value)
