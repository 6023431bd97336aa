"""The space of a search by its marker and by config.pbtxt: the default one, and what Triton would refuse anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_triton.errors import AxisError, ConfigurationError
from pytest_triton.plugin.search_marker import triton_search
from pytest_triton.plugin.spaces import Found, find_space
from pytest_triton.repository.fields import canonical_path, canonical_value
from pytest_triton.search.default_space import Model, default_axes
from pytest_triton.search.names import Reader

READER = Reader(canonical_path, canonical_value, lambda _, value: value)
BATCHING = 'backend: "onnxruntime" max_batch_size: 32'


def find(
    folder: Path, text: str | None, axes: Any = None, *, batch_size: int = 1, loads: Any = None, **arguments: Any
) -> Found:
    """The space of a search of the model ``m``, whose config.pbtxt holds ``text``, on a machine with two cores."""
    (folder / "m" / "1").mkdir(parents=True, exist_ok=True)
    if text is not None:
        (folder / "m" / "config.pbtxt").write_text(text)
    wish = triton_search(axes, **arguments)
    return find_space(wish, loads or {}, READER, model="m", repository=folder, batch_size=batch_size, cores=2)


def ids(found: Found) -> list[str]:
    return [point.id for point in found.expand().points]


def test_the_default_space_of_a_model_that_batches(tmp_path: Path) -> None:
    found = find(tmp_path, BATCHING, loads={"concurrency": [1, 8]})
    names = ids(found)
    assert len(names) == len(set(names)) == 2 * 2 * (1 + 3 * 2) * 2
    assert "i2-t1-b32-nodyn-c8" in names
    assert "i1-t2-b8-dyn.d1000us-c1" in names
    assert not any("b8-nodyn" in name for name in names), "without a batcher a smaller batch is the same"
    assert found.note == (
        "the default space: instance_group.count (i1, i2), parameters.intra_op_thread_count (t1, t2), "
        "max_batch_size (b2, b8, b32), dynamic_batching (nodyn, dyn, dyn.d1000us)"
    )
    assert find(tmp_path, BATCHING, exclude=lambda values: values["max_batch_size"] < 32).expand().reasons == {
        "exclude=": 16,
        "the same as another one in effect": 8,
    }


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (None, ["instance_group.count"]),
        ('backend: "python"', ["instance_group.count"]),
        ('backend: "python" max_batch_size: 1', ["instance_group.count"]),
        ('platform: "onnxruntime_onnx"', ["instance_group.count", "parameters.intra_op_thread_count"]),
        ('backend: "python" max_batch_size: 8 sequence_batching { }', ["instance_group.count"]),
        (
            'backend: "python" max_batch_size: 8 dynamic_batching { preserve_ordering: true }',
            ["instance_group.count", "max_batch_size", "dynamic_batching.max_queue_delay_microseconds"],
        ),
        (
            'backend: "onnxruntime" instance_group { kind: KIND_GPU }',
            ["instance_group.count", "optimization.execution_accelerators"],
        ),
        ('platform: "tensorrt_plan"', ["instance_group.count", "optimization.cuda.graphs"]),
    ],
)
def test_the_default_space_has_what_the_model_allows(tmp_path: Path, text: str | None, paths: list[str]) -> None:
    assert [axis.path for axis in find(tmp_path, text).space.axes] == paths


def test_the_backend_of_a_model_without_configuration_is_known_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").touch()
    assert "parameters.intra_op_thread_count" in [axis.path for axis in find(tmp_path, None).space.axes]


def test_the_largest_default_space_stays_small() -> None:
    axes = default_axes(Model("onnxruntime", max_batch_size=512, cores=64))
    assert {path: len(values) for path, values in axes.items()} == {
        "instance_group.count": 3,
        "parameters.intra_op_thread_count": 2,
        "max_batch_size": 3,
        "dynamic_batching": 3,
    }
    assert default_axes(Model("onnxruntime", cores=1)) == {"instance_group.count": [1]}


@pytest.mark.parametrize(
    ("backend", "axes"),
    [
        ("pytorch", ["parameters.INTRA_OP_THREAD_COUNT"]),
        ("openvino", ["parameters.INFERENCE_NUM_THREADS", "parameters.NUM_STREAMS"]),
    ],
)
def test_every_backend_has_threads_of_its_own(backend: str, axes: list[str]) -> None:
    found = default_axes(Model(backend, cores=64))
    assert list(found) == ["instance_group.count", *axes]
    assert not any(axis.startswith("parameters.") for axis in default_axes(Model(backend, gpu=True, cores=64)))


def test_more_streams_than_threads_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.xml").touch()
    names = ids(find(tmp_path, None))
    assert sorted(name for name in names if name.startswith("i1")) == ["i1-t1-st1", "i1-t2-st1", "i1-t2-st2"]


@pytest.mark.parametrize(
    ("text", "axes", "names", "reason"),
    [
        (
            "max_batch_size: 4",
            {"preferred_batch_size": [[2], [8]]},
            ["p2"],
            "preferred_batch_size holds 8, more than max_batch_size 4",
        ),
        (
            None,
            {"max_batch_size": [2, 8], "preferred_batch_size": [[4]]},
            ["b8-p4"],
            "preferred_batch_size holds 4, more than max_batch_size 2",
        ),
        (
            "",
            {"instance_kind": ["KIND_CPU", "KIND_GPU"], "instance_gpus": [[0]]},
            ["gpu-gpu0"],
            "gpus [0] beside KIND_CPU, which takes none",
        ),
        (
            "sequence_batching { }",
            {"dynamic_batching": [None, {}]},
            ["nodyn"],
            "dynamic_batching cannot stand beside sequence_batching",
        ),
        (
            "max_batch_size: 8",
            {"batch_size": [4, 16]},
            ["bs4"],
            "requests of batch_size 16, more than max_batch_size 8",
        ),
    ],
)
def test_what_triton_would_refuse_is_left_out(
    tmp_path: Path, text: str | None, axes: Any, names: list[str], reason: str
) -> None:
    expansion = find(tmp_path, text, axes).expand()
    assert [point.id for point in expansion.points] == names
    ((told, number),) = expansion.reasons.items()
    assert reason in told
    assert number == 1


@pytest.mark.parametrize("text", [None, 'backend: "onnxruntime"', "max_batch_size: 0"])
def test_a_batch_is_not_refused_where_triton_may_yet_complete_the_largest(tmp_path: Path, text: str | None) -> None:
    assert ids(find(tmp_path, text, {"preferred_batch_size": [[2], [8]]}, batch_size=4)) == ["p2", "p8"]


@pytest.mark.parametrize(
    ("text", "axes", "arguments", "says"),
    [
        ("ensemble_scheduling { step { model_name: 'a' } }", None, {}, "'a:instance_group.count': [1, 2]"),
        ("ensemble_scheduling { }", {"instance_count": [1, 2]}, {}, "2 that Triton would refuse: an ensemble has no"),
        ("max_batch_size: 2", {"x": {"preferred_batch_size": [4]}}, {}, "candidate 'x': Triton would refuse it"),
        ("", {"detectr:instance_count": [1]}, {}, "has no model 'detectr'"),
        ("", {"m:instance_count": [1]}, {}, "m: is the model of the search itself"),
        ("", {"x": {}}, {"exclude": bool}, "exclude= beside candidates given whole"),
        ("", {"x": {}}, {"loads": {"concurrency": [1, 2]}}, "triton_load(concurrency=[1, 2]) beside candidates"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str, axes: Any, arguments: Any, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        find(tmp_path, text, axes, **arguments).expand()
    assert says in str(caught.value)


def test_a_broken_configuration_is_told_where_the_space_is_made_of_it(tmp_path: Path) -> None:
    assert ids(find(tmp_path, "max_batch_sise: 4", {"instance_count": [1]})) == ["i1"]
    with pytest.raises(ConfigurationError, match="no field 'max_batch_sise'"):
        find(tmp_path, "max_batch_sise: 4")
