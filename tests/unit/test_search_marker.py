"""The arguments of ``triton_search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_triton.errors import UsageError
from pytest_triton.plugin.search_marker import triton_search


def test_what_is_not_said_is_as_by_default() -> None:
    wish = triton_search()
    assert wish.axes is None
    assert wish.settings.strategy == "race"
    assert wish.settings.objective.name == "throughput"
    assert wish.settings.trials is wish.settings.storage is wish.settings.reference is None
    assert wish.settings.tolerance == {}


def test_several_objectives_and_a_study() -> None:
    settings = triton_search(
        objective=["throughput", "p99"], strategy="optuna", trials=9, sampler="gp", storage=Path("study.log")
    ).settings
    assert [each.name for each in settings.objectives] == ["throughput", "p99"]
    assert (settings.trials, settings.sampler, settings.storage) == (9, "gp", "study.log")


@pytest.mark.parametrize(
    ("wish", "read"),
    [
        (0.01, dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), (0.01, 0.01))),
        ({"FP32": 0.01, "TYPE_FP16": (0.1, 0)}, {"FP32": (0.01, 0.01), "FP16": (0.1, 0.0)}),
        ({"INT8": 1}, {"INT8": (0.0, 1.0)}),
    ],
)
def test_a_tolerance_is_for_data_types(wish: Any, read: dict[str, tuple[float, float]]) -> None:
    assert triton_search(tolerance=wish).settings.tolerance == read


def test_a_reference_lies_beside_the_test(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").touch()
    assert triton_search(reference="small.onnx").place(tmp_path).settings.reference == tmp_path / "small.onnx"
    with pytest.raises(UsageError, match="there is no file"):
        triton_search(reference="large.onnx").place(tmp_path)
    assert triton_search(reference=dict).place(tmp_path).settings.reference is dict


@pytest.mark.parametrize(
    ("arguments", "problem", "way_out"),
    [
        ({"axes": {}}, "the axes are {}: no mapping, or empty", "leave them out"),
        ({"axes": [1]}, "the axes are [1]: no mapping, or empty", "instance_group.count"),
        ({"objective": []}, "leaves nothing to optimise", "at least one"),
        ({"strategy": "rase"}, "unknown strategy 'rase'", "did you mean 'race'?"),
        ({"strategy": None}, "strategy=None is no text", "'exhaustive'"),
        ({"trials": 9}, "trials=9 means nothing to strategy='race'", "strategy='optuna'"),
        ({"storage": "s.db"}, "storage='s.db' means nothing", "strategy='optuna'"),
        ({"sampler": "gp", "strategy": "exhaustive"}, "sampler='gp' means nothing", "strategy='optuna'"),
        ({"sampler": "cma", "strategy": "optuna"}, "unknown sampler 'cma'", "gp, random, tpe"),
        ({"trials": 0, "strategy": "optuna"}, "trials=0", "at least 1"),
        ({"storage": "", "strategy": "optuna"}, "storage=''", "sqlite:///"),
        ({"exclude": True}, "exclude=True is no callable", "lambda values"),
        ({"seed": -1}, "seed=-1", "at least 0"),
        ({"reference": 4}, "reference=4", "callable"),
        ({"tolerance": "little"}, "tolerance is 'little'", "'FP16': 0.02"),
        ({"tolerance": float("nan")}, "tolerance is nan", "write a number"),
        ({"tolerance": {"FP23": 1}}, "no data type 'FP23'", "did you mean"),
        ({"tolerance": {"FP32": (1, -1)}}, "tolerance of FP32 is (1, -1)", "relative"),
        ({"tolerance": {"FP32": 1, "TYPE_FP32": 1}}, "FP32 stands there twice", "once"),
        ({"unload_first": 1}, "unload_first=1", "True or False"),
        ({"restart": "always"}, "unknown restart 'always'", "candidate, needed"),
    ],
)
def test_what_cannot_be_meant(arguments: dict[str, Any], problem: str, way_out: str) -> None:
    with pytest.raises(UsageError) as caught:
        triton_search(**arguments)
    assert problem in str(caught.value)
    assert way_out in f"{caught.value} {caught.value.hint}"
