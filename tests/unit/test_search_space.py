"""Axes become points in a good order, with readable ids; what cannot be meant is refused at collection."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_triton.errors import AxisError, UsageError
from pytest_triton.quantities import Unit, parse
from pytest_triton.repository.fields import canonical_path, canonical_value
from pytest_triton.search.axes import read_axes
from pytest_triton.search.labels import label_axes
from pytest_triton.search.names import Reader
from pytest_triton.search.space import EXCLUDED, Space, SpacePoint, tell
from pytest_triton.search.values import Range


def read_load(name: str, value: Any) -> Any:
    if name == "concurrency" and (not isinstance(value, int) or value < 1):
        raise UsageError(f"{name}={value!r}", hint="write a number, at least 1")
    return parse(value, Unit.PER_SECOND) if name == "rate" and isinstance(value, str) else value


READER = Reader(canonical_path, canonical_value, read_load)


def points(axes: Any) -> list[SpacePoint]:
    return list(Space(read_axes(axes, READER)).expand().points)


def ids(axes: Any) -> list[str]:
    return [point.id for point in points(axes)]


def test_the_space_of_the_guide() -> None:
    found = points(
        {
            "instance_group.count": [1, 2],
            "parameters.intra_op_thread_count": [1, 2],
            "dynamic_batching": [None, {}],
        }
    )
    assert [point.id for point in found] == [
        "i1-t1-nodyn",
        "i2-t1-nodyn",
        "i1-t1-dyn",
        "i2-t1-dyn",
        "i1-t2-nodyn",
        "i2-t2-nodyn",
        "i1-t2-dyn",
        "i2-t2-dyn",
    ]
    assert found[3] == SpacePoint(
        "i2-t1-dyn",
        {"instance_group.count": 2, "parameters.intra_op_thread_count": "1", "dynamic_batching": {}},
        {},
    )


def test_the_load_changes_fastest_then_what_triton_changes_in_place_and_large_batches_come_first() -> None:
    assert ids({"concurrency": [1, 4], "instance_count": [1, 2], "max_batch_size": [4, 8]}) == [
        "c1-i1-b8",
        "c4-i1-b8",
        "c1-i2-b8",
        "c4-i2-b8",
        "c1-i1-b4",
        "c4-i1-b4",
        "c1-i2-b4",
        "c4-i2-b4",
    ]


def test_load_axes_are_no_part_of_the_patch() -> None:
    (point,) = points({"concurrency": [4], "batch_size": [2], "instance_count": [1]})
    assert point == SpacePoint("c4-bs2-i1", {"instance_group.count": 1}, {"concurrency": 4, "batch_size": 2})


def test_inside_a_removed_field_nothing_is_varied() -> None:
    found = points({"dynamic_batching": [None, {}], "max_queue_delay": ["0us", "100us"], "instance_count": [1]})
    assert [point.id for point in found] == ["nodyn-i1", "dyn-d0us-i1", "dyn-d100us-i1"]
    assert found[0].patch == {"dynamic_batching": None, "instance_group.count": 1}


@pytest.mark.parametrize(
    ("axis", "values", "labels"),
    [
        ("max_queue_delay", ["100us", "2ms", 0], ["d100us", "d2000us", "d0us"]),
        ("preferred_batch_size", [[4, 8], [16]], ["p4.8", "p16"]),
        ("max_batch_size", [0, 8], ["b8", "b0"]),
        ("graph_level", [-1, 1], ["gm1", "g1"]),
        ("instance_kind", ["KIND_CPU", "KIND_GPU"], ["cpu", "gpu"]),
        ("response_cache.enable", [True, False], ["rc1", "rc0"]),
        ("parameters.enable_mem_arena", [True, False], ["ematrue", "emafalse"]),
        ("parameters.mode", ["a=b, c", "a b c"], ["ma_b_c.1", "ma_b_c.2"]),
        ("optimization.execution_accelerators", [None, {}], ["noea", "ea"]),
        (
            "dynamic_batching",
            [{"preserve_ordering": True}, {"max_queue_delay_microseconds": 5}],
            ["dyn.po1", "dyn.d5us"],
        ),
        ("gpu_execution_accelerator", [[{"name": "tensorrt"}], []], ["geatensorrt", "gea"]),
        ("sequence_batching.direct.minimum_slot_utilization", [0.5, None], ["msu0.5", "nomsu"]),
    ],
)
def test_labels(axis: str, values: list[Any], labels: list[str]) -> None:
    assert ids({axis: values}) == labels


def test_axes_that_would_share_labels_get_longer_ones() -> None:
    assert ids({"parameters.alpha": [1], "parameters.apex": [1], "metric_tags.apex": ["1"]}) == ["a1-pa1-mta1"]
    assert ids({"parameters.ab": [1], "parameters.ac": [1], "parameters.ad": [1]}) == ["a1-pa1-parameters.ad1"]


NAMES = st.sampled_from(
    ["parameters.a", "parameters.a b", "parameters.a_b", "parameters.axis", "metric_tags.a", "name"]
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(NAMES, st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True), min_size=1, max_size=4)
)
def test_ids_are_unique_and_fit_for_k(axes: dict[str, list[str]]) -> None:
    found = ids(axes)
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"[\w.+-]+", name, re.ASCII) for name in found)
    assert found == ids(axes)
    labels = [label for of_axis in label_axes(axes).values() for label in of_axis]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"instance_group.count": []}, "the axis has no values"),
        ({"instance_group.count": 2}, "Write 'instance_group.count': [2]"),
        ({"instance_group.kind": "KIND_CPU"}, "is not a list of values"),
        ({"instance_group.cuont": [1]}, "did you mean 'instance_group.count'?"),
        ({"concurency": [1]}, "did you mean 'concurrency'?"),
        ({"max_batch_size": [-1]}, "max_batch_size takes a whole number from 0"),
        ({"instance_count": [1, 2], "instance_group.count": [3]}, "is an axis twice"),
        ({"max_queue_delay": ["1ms", 1000]}, "stands in the axis twice"),
        ({"parameters.t": [1, "1"]}, "stands in the axis twice"),
        ({"concurrency": [0]}, "write a number, at least 1"),
        ({"preferred_batch_size": [4, 8]}, "write [4]"),
        ({3: [1]}, "3 is no axis"),
        ({"small": {"instance_count": 1}, "concurrency": [1]}, "'small' is a candidate given whole, and stands beside"),
        ({"server.": [1]}, "names no option of Triton's"),
        ({"server.cache_config": [""]}, "server.cache_config: '' is refused"),
        ({"server.cache_config": [{}]}, "Write the option's argument"),
        ({"detector:instance_cuont": [1]}, "did you mean 'instance_count'?"),
        ({"max_batch_size": list(range(200)), "concurrency": list(range(1, 101))}, "200 x 100 = 20,000 points"),
    ],
)
def test_what_cannot_be_meant(axes: Any, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        points(axes)
    assert says in str(caught.value)


def test_an_axis_may_be_about_the_server_or_another_model_which_change_slowest() -> None:
    axes = {
        "instance_count": [1, 2],
        "detector:instance_count": [1, 2],
        "server.cache-config": [None, "local,size=1048576"],
        "parameters.a:b": ["1"],
    }
    found = points(axes)
    assert [point.id for point in found] == [
        "i1-detector.i1-nocc-ab1",
        "i2-detector.i1-nocc-ab1",
        "i1-detector.i2-nocc-ab1",
        "i2-detector.i2-nocc-ab1",
        "i1-detector.i1-cclocal_size_1048576-ab1",
        "i2-detector.i1-cclocal_size_1048576-ab1",
        "i1-detector.i2-cclocal_size_1048576-ab1",
        "i2-detector.i2-cclocal_size_1048576-ab1",
    ]
    assert found[-1] == SpacePoint(
        found[-1].id,
        {"instance_group.count": 2, "parameters.a:b": "1"},
        {},
        {"cache_config": "local,size=1048576"},
        {"detector": {"instance_group.count": 2}},
    )
    assert found[0].server == {}


def test_a_predicate_leaves_combinations_out_by_any_name_of_an_axis() -> None:
    axes = read_axes(
        {"instance_count": [1, 2], "dynamic_batching": [None, {}], "max_queue_delay": ["1ms", "9ms"]}, READER
    )
    names = {"instance_group.count": "instance_count"}
    asked = []

    def exclude(values: Any) -> bool:
        asked.append(dict(values))
        return bool(
            values["instance_count"] == values["instance_group.count"] == 2 and values["max_queue_delay"] == "9ms"
        )

    expansion = Space(axes, exclude, names=names).expand()
    assert [point.id for point in expansion.points] == [
        "i1-nodyn",
        "i2-nodyn",
        "i1-dyn-d1000us",
        "i2-dyn-d1000us",
        "i1-dyn-d9000us",
    ]
    assert expansion.reasons == {EXCLUDED: 1}
    assert asked[0] == {"instance_count": 1, "dynamic_batching": None, "max_queue_delay": None}


@pytest.mark.parametrize(
    ("exclude", "says"),
    [
        (lambda values: values["max_queue_delay"] > 0, "exclude= failed for i1: no axis 'max_queue_delay'"),
        (lambda values: values["instance_count"] > "1", "exclude= failed for i1: TypeError: "),
        (lambda: True, "exclude= failed for i1: TypeError: "),
        (lambda values: True, "no candidate is left of the 2 combinations"),
    ],
)
def test_a_predicate_that_fails_or_leaves_nothing(exclude: Any, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        Space(read_axes({"instance_count": [1, 2]}, READER), exclude).expand()
    assert says in str(caught.value)


def test_what_was_left_out_is_told_with_the_usual_reasons_first() -> None:
    reasons = {EXCLUDED: 9, **{f"reason {number}": number for number in range(1, 8)}}
    lines = tell(reasons)
    assert lines[0] == "7 that Triton would refuse: reason 7"
    assert lines[-2:] == ["10 that Triton would refuse for 4 other reasons", "9 by exclude="]


def test_a_space_of_millions_proposes_points_with_the_ids_that_it_would_expand_to() -> None:
    space = Space(
        read_axes(
            {"max_queue_delay": Range(0, 4999), "dynamic_batching": [None, {}], "instance_count": Range(1, 500)}, READER
        )
    )
    assert space.size == 5_000_000
    with pytest.raises(AxisError, match="5000 x 2 x 500 = 5,000,000 points"):
        space.expand()
    inner, outer, count = space.axes
    assert inner.ascending
    assert not outer.ascending
    assert not space.matters(inner, {outer.path: 0})
    assert space.point({outer.path: 0, count.path: 2}) == SpacePoint(
        "nodyn-i3", {"dynamic_batching": None, "instance_group.count": 3}
    )
    proposed = space.point({outer.path: 1, inner.path: 7, count.path: 2})
    assert proposed.id == "d7us-dyn-i3"
    assert space.find("d7us-dyn-i3") == proposed
    assert [space.find(name) for name in ("d7us-i3", "i3-dyn-d7us", "d7us-dyn-i501", "")] == [None] * 4


def test_every_point_is_found_by_its_id() -> None:
    space = Space(read_axes({"dynamic_batching": [None, {}], "max_queue_delay": [0, 1], "concurrency": [1, 2]}, READER))
    for point in space.expand().points:
        assert space.find(point.id) == point
