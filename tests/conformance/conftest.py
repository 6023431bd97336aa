"""A real Triton with the models that the engines are tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from engines import ENGINES, Spoken
from python_models import write_echo, write_model, write_repeat, write_sequences
from serving import serve

from pytest_triton.case import Load
from pytest_triton.load import Engine, Plan, Request, RequestSet
from pytest_triton.server import EmbeddedServer

FOUR_AT_A_TIME = """
backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
instance_group [ {{ count: 4 kind: KIND_CPU }} ]
"""
SLEEP = "import time; time.sleep(float(pb_utils.get_input_tensor_by_name(requests[0], 'X').as_numpy()[0]))"
REFUSE = "return [pb_utils.InferenceResponse([], pb_utils.TritonError('no luck today')) for _ in requests]"
INTEGERS = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
DATATYPES = ["BOOL", "BYTES", "FP16", "FP32", "FP64", "BF16", *INTEGERS]

MakePlan = Callable[..., Plan]


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Triton with all the models.

    ``echo`` batches, ``slow`` takes 0.1 s for each request, ``asked`` as long as it says, ``failing`` fails, ``types``
    has an input of every data type, ``direct``, ``oldest`` and ``named`` (by strings) keep a diary of their sequences,
    ``repeat`` and ``marked`` answer more than once.
    """
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "echo")
    write_model(repository, "slow", execute="import time; time.sleep(0.1)", configuration=FOUR_AT_A_TIME)
    write_model(repository, "asked", execute=SLEEP, configuration=FOUR_AT_A_TIME)
    write_model(repository, "failing", execute=REFUSE)
    write_echo(repository, "types", DATATYPES)
    write_sequences(repository, "direct")
    write_sequences(repository, "oldest", strategy="oldest")
    # Directly placed, Triton 2.51 refuses an id that is a string while the place before it in the batch is free.
    write_sequences(repository, "named", strategy="oldest", id_type="TYPE_STRING")
    write_repeat(repository, "repeat", mark_last=False)
    write_repeat(repository, "marked", mark_last=True)
    models = sorted(folder.name for folder in repository.iterdir())
    with serve(repository, tmp_path_factory.mktemp("server"), *models) as server:
        yield server


@pytest.fixture(params=ENGINES)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    """An engine and how it sends."""
    spoken: Spoken = request.param
    return spoken


@pytest.fixture
def engine(spoken: Spoken) -> Engine:
    return spoken.engine


@pytest.fixture
def make_plan(spoken: Spoken, triton: EmbeddedServer) -> MakePlan:
    """Plan a load on one of the server's models; skips the test when the engine cannot send it."""

    def make(
        model: str, *requests: Request, load: Mapping[str, Any] | None = None, size: int = 16, **options: Any
    ) -> Plan:
        asked = Load(**{"protocol": spoken.protocol, "streaming": spoken.streaming, **(load or {})})
        refusal = spoken.engine.refusal(asked)
        if refusal:
            pytest.skip(refusal)
        if not requests:
            batch = (asked.batch_size,) if triton.control.configuration(model).max_batch_size else ()
            requests = (Request(model, {"X": np.zeros((*batch, size), np.float32)}, {"X": "FP32"}),)
        return Plan(triton.endpoints.address(asked.protocol), asked, RequestSet.of(*requests), **options)

    return make
