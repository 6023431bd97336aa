"""The models that searches are compared on, and their spaces, as each of the two tools is told of them.

``alexnet``  the network of ``examples/alexnet``, which does not batch: instances and concurrency
``network``  a small perceptron whose weights outweigh a request by far, so that batching pays: instances, the largest
             batch and concurrency, dynamic batching on in every candidate
"""

from __future__ import annotations

import itertools
import runpy
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALEXNET = Path(__file__).resolve().parents[1] / "examples" / "alexnet"
WIDTH = 1024
LAYERS = 6
CLASSES = 10
SEED = 7

_NETWORK = f"""name: "network"
platform: "onnxruntime_onnx"
max_batch_size: 32
input [ {{ name: "IN" data_type: TYPE_FP32 dims: [ {WIDTH} ] }} ]
output [ {{ name: "OUT" data_type: TYPE_FP32 dims: [ {CLASSES} ] }} ]
"""


@dataclass(frozen=True, order=True)
class Point:
    """One candidate: instances, the largest batch (None for a model that does not batch), requests in flight."""

    instances: int
    batch: int | None
    concurrency: int

    def __str__(self) -> str:
        """Name it as ``i2-b8-c16``."""
        return f"i{self.instances}-" + (f"b{self.batch}-" if self.batch is not None else "") + f"c{self.concurrency}"

    @property
    def patch(self) -> dict[str, Any]:
        """What it changes in the model's configuration."""
        patch: dict[str, Any] = {"instance_group.count": self.instances}
        return patch if self.batch is None else patch | {"max_batch_size": self.batch, "dynamic_batching": {}}


@dataclass(frozen=True)
class Space:
    """What is searched: every combination. ``batches`` is empty for a model that does not batch."""

    instances: tuple[int, ...]
    batches: tuple[int, ...]
    concurrencies: tuple[int, ...]

    def points(self) -> Iterator[Point]:
        """Yield every candidate, those that differ in the load alone next to each other."""
        for batch, count, load in itertools.product(self.batches or (None,), self.instances, self.concurrencies):
            yield Point(count, batch, load)

    def test(self, model: str, protocol: str, **settings: Any) -> str:
        """Write the search as a test module; ``settings`` are further arguments of its marker."""
        axes: dict[str, Any] = {"instance_group.count": list(self.instances)}
        if self.batches:
            axes |= {"max_batch_size": list(self.batches), "dynamic_batching": [{}]}
        axes["concurrency"] = list(self.concurrencies)
        said = "".join(f", {name}={value!r}" for name, value in {"objective": "throughput", **settings}.items())
        return (
            "import pytest\n\n\n"
            f"@pytest.mark.triton_model({model!r})\n"
            f"@pytest.mark.triton_load(protocol={protocol!r})\n"
            f"@pytest.mark.triton_search({axes!r}{said})\n"
            "def test_best(triton_perf):\n"
            "    triton_perf()\n"
        )

    def profile(self, model: str, mode: str) -> dict[str, Any]:
        """Write the search for Model Analyzer's configuration file.

        A model that does not batch is searched by its manual mode, since the others vary the batch: they are
        told the ends of the space and double what lies between.
        """
        own: dict[str, Any] = {"cpu_only": True}
        if not self.batches:
            groups = [{"kind": ["KIND_CPU"], "count": list(self.instances)}]
            own |= {"parameters": {"concurrency": list(self.concurrencies)}}
            own |= {"model_config_parameters": {"instance_group": groups}}
            return {"profile_models": {model: own}}
        ends = {"instance_count": self.instances, "model_batch_size": self.batches, "concurrency": self.concurrencies}
        said = {
            f"run_config_search_{end}_{name}": choose(values)
            for name, values in ends.items()
            for end, choose in (("min", min), ("max", max))
        }
        return {"profile_models": {model: own}, "run_config_search_mode": mode, **said}


@dataclass(frozen=True)
class Model:
    """A model with the space to search. ``shape`` is its input as Perf Analyzer's ``--shape`` wants it."""

    name: str
    space: Space
    shape: str

    def within(self, instances: list[int] | None, batches: list[int] | None, concurrencies: list[int] | None) -> Model:
        """Return it with less to search: only these values of an axis, where they are given."""
        own = self.space
        batches = batches if own.batches else None
        space = Space(
            tuple(instances or own.instances), tuple(batches or own.batches), tuple(concurrencies or own.concurrencies)
        )
        return replace(self, space=space)

    def write(self, repository: Path, cache: Path) -> None:
        """Write it into ``repository``; what takes long to build is kept in ``cache``."""
        version = repository / self.name / "1"
        version.mkdir(parents=True)
        if self.name == "network":
            (version / "model.onnx").write_bytes(make_network().SerializeToString())
            (version.parent / "config.pbtxt").write_text(_NETWORK)
            return
        built = cache / "alexnet.onnx"
        if not built.exists():
            runpy.run_path(str(ALEXNET / "build.py"))["build"](built)
        shutil.copyfile(built, version / "model.onnx")
        shutil.copyfile(ALEXNET / "alexnet" / "config.pbtxt", version.parent / "config.pbtxt")


MODELS: Mapping[str, Model] = {
    "alexnet": Model("alexnet", Space((1, 2, 3), (), (1, 2, 4, 8)), "data_0:1,3,224,224"),
    "network": Model("network", Space((1, 2, 3), (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32, 64)), f"IN:{WIDTH}"),
}


def make_network() -> onnx.ModelProto:
    """Put the perceptron together: 25 MB of weights, random from a fixed seed, for 4 KB of input."""
    rng = np.random.default_rng(SEED)
    sizes = [WIDTH] * (LAYERS + 1) + [CLASSES]
    nodes, weights, last = [], [], "IN"
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        values = rng.standard_normal((before, after), dtype=np.float32) * np.float32((2 / before) ** 0.5)
        weights.append(numpy_helper.from_array(values, f"weights_{number}"))
        final = number == len(sizes) - 2
        nodes.append(helper.make_node("MatMul", [last, f"weights_{number}"], ["OUT" if final else f"sum_{number}"]))
        if not final:
            nodes.append(helper.make_node("Relu", [f"sum_{number}"], [f"layer_{number}"]))
            last = f"layer_{number}"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("IN", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("OUT", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model
