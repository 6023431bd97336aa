"""A real Triton with the models that the engines are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_triton.server import EmbeddedServer

HEADER = "import time\nimport triton_python_backend_utils as pb_utils\n\n\nclass TritonPythonModel:\n"
ECHO = HEADER + (
    "    def execute(self, requests):\n"
    "        tensors = [pb_utils.get_input_tensor_by_name(request, 'IN').as_numpy() for request in requests]\n"
    "        return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT', tensor)]) for tensor in tensors]\n"
)
SLOW = ECHO.replace("        tensors", "        time.sleep(0.1)\n        tensors")
FAILING = HEADER + (
    "    def execute(self, requests):\n"
    "        return [pb_utils.InferenceResponse([], pb_utils.TritonError('no luck today')) for _ in requests]\n"
)
CONFIGURATION = """
backend: "python"
max_batch_size: {batch}
input [{{ name: "IN", data_type: TYPE_FP32, dims: [-1] }}]
output [{{ name: "OUT", data_type: TYPE_FP32, dims: [-1] }}]
instance_group [{{ count: {instances}, kind: KIND_CPU }}]
"""
MODELS = {
    "echo": (ECHO, CONFIGURATION.format(batch=8, instances=1)),
    "slow": (SLOW, CONFIGURATION.format(batch=0, instances=4)),
    "failing": (FAILING, CONFIGURATION.format(batch=0, instances=1)),
}


def write_model(repository: Path, name: str, code: str, configuration: str) -> None:
    """Put a Python model into a repository."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)
    (version.parent / "config.pbtxt").write_text(configuration)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """An embedded Triton that serves ``MODELS``, all loaded."""
    repository = tmp_path_factory.mktemp("repository")
    for name, (code, configuration) in MODELS.items():
        write_model(repository, name, code, configuration)
    server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("server"))
    try:
        server.start()
        for name in MODELS:
            server.control.load(name)
        yield server
    finally:
        server.stop()
