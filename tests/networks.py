"""One small network as a file for each backend of the embedded server: two layers, and the sum of each row.

PyTorch's file is written by an interpreter that has PyTorch, which need not be the one of the tests.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_triton.server.embedded.backends.common.refusal import RefusalError
from pytest_triton.server.embedded.backends.openvino.library import import_openvino

Array = np.ndarray[Any, Any]

FILES = {"onnxruntime": "model.onnx", "openvino": "model.xml", "pytorch": "model.pt"}
FIRST = np.array([[((3 * i + 5 * j) % 7 - 3) / 4 for j in range(8)] for i in range(3)], dtype=np.float32)
SECOND = np.array([[((2 * i + 3 * j) % 5 - 2) / 4 for j in range(2)] for i in range(8)], dtype=np.float32)
_TORCH = """
import sys, torch

FIRST = [[((3 * i + 5 * j) % 7 - 3) / 4 for j in range(8)] for i in range(3)]
SECOND = [[((2 * i + 3 * j) % 5 - 2) / 4 for j in range(2)] for i in range(8)]


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("first", torch.tensor(FIRST))
        self.register_buffer("second", torch.tensor(SECOND))

    def forward(self, X):
        return torch.relu(X @ self.first) @ self.second, X.sum(1, keepdim=True)


torch.jit.script(Network()).save(sys.argv[1])
"""


def expect(rows: Array) -> dict[str, Array]:
    """What the network answers to ``rows``."""
    return {"Y": np.maximum(rows @ FIRST, 0) @ SECOND, "TOTAL": rows.sum(1, keepdims=True)}


def write_network(backend: str, version: Path, python: str) -> None:
    """Write the network into a version folder. ``python`` is the interpreter that has PyTorch."""
    version.mkdir(parents=True)
    path = version / FILES[backend]
    if backend == "onnxruntime":
        onnx.save(_make_onnx(), path)
    elif backend == "openvino":
        write_ir(_make_onnx(), path)
    else:
        write_script(python, _TORCH, path)


def write_ir(model: onnx.ModelProto, path: Path, layout: str = "") -> None:
    """Write an ONNX model as OpenVINO's intermediate representation; ``layout`` is that of inputs and outputs."""
    ov = load_openvino()
    original = path.with_suffix(".onnx")
    onnx.save(model, original)
    graph = ov.Core().read_model(str(original))
    if layout:
        for tensor in (*graph.inputs, *graph.outputs):
            tensor.node.set_layout(ov.Layout(layout))
    ov.save_model(graph, str(path), compress_to_fp16=False)
    original.unlink()


def load_openvino() -> Any:
    """Import OpenVINO as the backend does, without what it reports over the network; skip where there is none."""
    try:
        return import_openvino()
    except RefusalError as refusal:
        pytest.skip(str(refusal))


def write_script(python: str, code: str, *arguments: object) -> None:
    """Let an interpreter that has PyTorch run ``code``, which saves models where ``arguments`` say."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        # A file, since TorchScript is made of a class's source.
        script.write(code)
        script.flush()
        subprocess.run([python, script.name, *map(str, arguments)], check=True, timeout=60)


def _make_onnx() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["X", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["Y"]),
        helper.make_node("ReduceSum", ["X", "axes"], ["TOTAL"], keepdims=1),
    ]
    sizes = {"X": 3, "Y": 2, "TOTAL": 1}
    tensors = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in sizes.items()
    }
    weights = {"first": FIRST, "second": SECOND, "axes": np.array([1])}
    initializers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "network", [tensors["X"]], [tensors["Y"], tensors["TOTAL"]], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
