"""A real Triton with the models that the engines are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from python_models import write_model
from serving import serve

from pytest_triton.server import EmbeddedServer

FOUR_AT_A_TIME = """
backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
instance_group [ {{ count: 4 kind: KIND_CPU }} ]
"""
REFUSE = "return [pb_utils.InferenceResponse([], pb_utils.TritonError('no luck today')) for _ in requests]"


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Triton with ``echo``, which batches, ``slow``, which takes 0.1 s for each request, and ``failing``."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "echo")
    write_model(repository, "slow", execute="import time; time.sleep(0.1)", configuration=FOUR_AT_A_TIME)
    write_model(repository, "failing", execute=REFUSE)
    with serve(repository, tmp_path_factory.mktemp("server"), "echo", "slow", "failing") as server:
        yield server
