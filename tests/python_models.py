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


SEQUENCES = """backend: "python"
max_batch_size: 8
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
sequence_batching {{
  {strategy} {{ }}
  max_sequence_idle_microseconds: 10000000
  control_input [
    {{ name: "START" control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "END" control [ {{ kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "READY" control [ {{ kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "ID" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: {id_type} }} ] }}
  ]
}}
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
"""
DIARY = """
from pathlib import Path

import triton_python_backend_utils as pb_utils


def value(request, name):
    element = pb_utils.get_input_tensor_by_name(request, name).as_numpy().flat[0]
    return element.decode() if isinstance(element, bytes) else int(element)


class TritonPythonModel:
    def initialize(self, args):
        self.diary = (Path(args["model_repository"]) / "diary").open("a")

    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if value(request, "READY"):
                number, start, end = (value(request, name) for name in ("ID", "START", "END"))
                self.diary.write(f"{number} {start} {end} {x.flat[0]:g}\\n")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)]))
        self.diary.flush()
        return answers
"""
DECOUPLED = """backend: "python"
model_transaction_policy { decoupled: true }
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
REPEAT = """
import time

import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            sender, count = request.get_response_sender(), int(x[0])
            for number in range(count):
                time.sleep(0.002)
                last = FINAL if {mark_last} and number == count - 1 else 0
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)]), flags=last)
            if not {mark_last}:
                sender.send(flags=FINAL)
"""


def write_sequences(repository: Path, name: str, *, strategy: str = "direct", id_type: str = "TYPE_UINT64") -> Path:
    """Write a stateful model that returns X as Y and writes down every request as it sees it.

    A line of its file ``diary`` has the correlation id, the flags of start and end, and the first element of X.
    """
    return _write(repository / name, SEQUENCES.format(strategy=strategy, id_type=id_type), DIARY)


def write_repeat(repository: Path, name: str, *, mark_last: bool) -> Path:
    """Write a decoupled model that answers X with as many responses Y = X as its first element says, 2 ms apart.

    The last of them says that it is the last, or (without ``mark_last``) an empty one after them does.
    """
    return _write(repository / name, DECOUPLED, REPEAT.format(mark_last=mark_last))


def _write(folder: Path, configuration: str, code: str) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(configuration)
    (folder / "1" / "model.py").write_text(code)
    return folder
