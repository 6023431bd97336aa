"""Tensors arrive as they were made, for every data type; answers that are wrong are told from those that are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pytest_triton.case import Inputs
from pytest_triton.errors import EngineError
from pytest_triton.load import Engine, LoadSession, Plan, Request, RequestSet, make_request
from pytest_triton.load.status import WRONG
from pytest_triton.observation import OK
from pytest_triton.server import EmbeddedServer

MakePlan = Callable[..., Plan]


def opened(engine: Engine, plan: Plan) -> LoadSession:
    try:
        return engine.open(plan)
    except EngineError as error:
        if "cannot compare answers" in error.problem:
            pytest.skip(error.problem)
        raise


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_data_type_arrives_intact(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, batch_size: int
) -> None:
    plan = make_plan("types", load={"batch_size": batch_size}, validate="all")
    request = make_request(
        triton.control.metadata("types"),
        max_batch_size=8,
        inputs=Inputs(shapes={entry["name"]: (5,) for entry in triton.control.metadata("types")["inputs"]}),
        batch_size=batch_size,
        model="types",
    )
    expected = {f"OUT{name.removeprefix('IN')}": array for name, array in request.inputs.items()}
    plan = replace(plan, requests=RequestSet.of(replace(request, expected=expected)))
    with opened(engine, plan) as session:
        session.start()
        trace = session.collect(seconds=0.1, requests=3, limit=10)
    assert len(trace) >= 3
    assert (trace.status == OK).all(), trace.reasons


@pytest.mark.parametrize("wrong", [0, 1])
@pytest.mark.parametrize("validate", ["all", "sample", "none"])
def test_a_wrong_answer_is_told(engine: Engine, make_plan: MakePlan, validate: str, wrong: int) -> None:
    tensors = [np.full((1, 4), value, np.float32) for value in (1, 2)]
    requests = [
        Request("echo", {"X": x}, {"X": "FP32"}, expected={"Y": x + (index == wrong)})
        for index, x in enumerate(tensors)
    ]
    with opened(engine, make_plan("echo", *requests, validate=validate)) as session:
        session.start()
        trace = session.collect(seconds=0.1, requests=300, limit=20)
        if validate == "none":
            assert (trace.status == OK).all()
            return
    assert trace.request is not None
    assert (trace.status[trace.request != wrong] == OK).all()
    told = trace.status[trace.request == wrong] == WRONG
    assert told.all() if validate == "all" else told.any()
    assert "'Y'" in trace.reasons[WRONG]


def test_requests_go_out_in_rotation(engine: Engine, make_plan: MakePlan) -> None:
    requests = [Request("echo", {"X": np.full((1, 2), value, np.float32)}, {"X": "FP32"}) for value in range(3)]
    with engine.open(make_plan("echo", *requests)) as session:
        session.start()
        trace = session.collect(seconds=0.1, requests=9)
    if trace.request is None:
        pytest.skip("does not say which request was which")
    assert np.array_equal(trace.request, np.arange(len(trace)) % 3)
