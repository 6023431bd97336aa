"""Small Python models for a real server."""

from pathlib import Path

TENSORS = """
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        {execute}
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("Y", pb_utils.get_input_tensor_by_name(each, "X").as_numpy())])
            for each in requests
        ]
"""


def write_model(
    repository: Path,
    name: str,
    *,
    execute: str = "pass",
    initialize: str = "pass",
    configuration: str = 'backend: "python"\nmax_batch_size: 8\ndynamic_batching { }\n' + TENSORS,
) -> Path:
    """Write a model that returns its FP32 input X as Y, after the statement ``execute``."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(configuration)
    (folder / "1" / "model.py").write_text(IDENTITY.format(execute=execute, initialize=initialize))
    return folder
