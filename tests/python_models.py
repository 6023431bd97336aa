"""Small Python models for a real server."""

from collections.abc import Iterable
from pathlib import Path

CONFIGURATION = """backend: "python"
max_batch_size: 8
dynamic_batching {{ }}
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
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
# NumPy has no bfloat16, so that such a tensor goes back by its address.
ECHO = """
import triton_python_backend_utils as pb_utils


def echo(tensor):
    name = "OUT" + tensor.name().removeprefix("IN")
    if name == "OUT_BF16":
        return pb_utils.Tensor.from_dlpack(name, tensor.to_dlpack())
    return pb_utils.Tensor(name, tensor.as_numpy())


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([echo(tensor) for tensor in each.inputs()]) for each in requests]
"""


def write_model(
    repository: Path,
    name: str,
    *,
    execute: str = "pass",
    initialize: str = "pass",
    configuration: str = CONFIGURATION,
    dims: str = "[ -1 ]",
) -> Path:
    """Write a model that returns its FP32 input X as Y, after the statement ``execute``.

    ``configuration`` is a template: its braces are doubled, and ``{dims}`` stands for ``dims``.
    """
    text = configuration.format(dims=dims)
    return _write(repository / name, text, IDENTITY.format(execute=execute, initialize=initialize))


def write_echo(repository: Path, name: str, datatypes: Iterable[str]) -> Path:
    """Write a model that batches and gives back each input ``IN_<data type>`` as ``OUT_<data type>``."""
    lines = ['backend: "python"', "max_batch_size: 8"]
    for datatype in datatypes:
        kind = "STRING" if datatype == "BYTES" else datatype
        lines.append(f'input [{{ name: "IN_{datatype}", data_type: TYPE_{kind}, dims: [-1] }}]')
        lines.append(f'output [{{ name: "OUT_{datatype}", data_type: TYPE_{kind}, dims: [-1] }}]')
    return _write(repository / name, "\n".join(lines), ECHO)


def _write(folder: Path, configuration: str, code: str) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(configuration)
    (folder / "1" / "model.py").write_text(code)
    return folder
