"""Build the AlexNet of Triton's optimisation guide: ``python examples/alexnet/build.py``.

Krizhevsky, Sutskever and Hinton (2012) as the ONNX model zoo has it: input ``data_0`` [1, 3, 224, 224], output
``prob_1`` [1, 1000], 61 million weights in 244 MB. They are random from a fixed seed: what the network answers means
nothing, what it costs is the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL = Path(__file__).parent / "alexnet" / "1" / "model.onnx"
SEED = 2012

# Output channels, kernel, stride, padding, groups; then whether normalisation and pooling follow.
CONVOLUTIONS = [
    (96, 11, 4, 0, 1, True, True),
    (256, 5, 1, 2, 2, True, True),
    (384, 3, 1, 1, 1, False, False),
    (384, 3, 1, 1, 2, False, False),
    (256, 3, 1, 1, 2, False, True),
]
DENSE = [4096, 4096, 1000]


def build(path: Path = MODEL) -> None:
    """Write the model to ``path``, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".model.onnx.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(make_model().SerializeToString())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_model() -> onnx.ModelProto:
    """Put the network together."""
    rng = np.random.default_rng(SEED)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    last, channels = "data_0", 3

    def add(kind: str, inputs: list[str], **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{kind.lower()}_{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def add_weights(*shape: int) -> str:
        # He et al. (2015): signals keep their size through layers of rectifiers.
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        weights.append(numpy_helper.from_array(values, f"weights_{len(weights)}"))
        return str(weights[-1].name)

    for filters, kernel, stride, padding, groups, normalise, pool in CONVOLUTIONS:
        last = add(
            "Conv",
            [last, add_weights(filters, channels // groups, kernel, kernel), add_weights(filters)],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
            group=groups,
        )
        last, channels = add("Relu", [last]), filters
        if normalise:
            last = add("LRN", [last], size=5, alpha=1e-4, beta=0.75, bias=1.0)
        if pool:
            # Caffe, where this network comes from, rounds the pooled size up.
            last = add("MaxPool", [last], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    last, size = add("Flatten", [last], axis=1), channels * 6 * 6
    for index, width in enumerate(DENSE):
        last = add("Gemm", [last, add_weights(width, size), add_weights(width)], transB=1)
        if index < len(DENSE) - 1:
            # In training a dropout follows; in inference it is nothing.
            last = add("Relu", [last])
        size = width
    nodes.append(helper.make_node("Softmax", [last], ["prob_1"], axis=1))

    graph = helper.make_graph(
        nodes,
        "alexnet",
        [helper.make_tensor_value_info("data_0", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("prob_1", TensorProto.FLOAT, [1, DENSE[-1]])],
        weights,
    )
    # Versions that every ONNX Runtime of the last years reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    print(f"building AlexNet (244 MB): {MODEL}", file=sys.stderr, flush=True)
    build()
