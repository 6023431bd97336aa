"""What it costs to go from one configuration to the next on a warm embedded server.

    python benchmarks/switching.py [--rounds 5] [--models onnx,python,alexnet]

A tiny ONNX model, a tiny Python model, and AlexNet (244 MB). Timed is the call that returns when the model is ready:

- *one more*, *one less*: an instance is added or removed in place;
- *one less, anew*: the model is unloaded without waiting for its end, and loaded with one instance less;
- *reload, completing*: another configuration, complete already, which Triton completes nevertheless;
- *reload*: the same on a server that was started with ``--disable-auto-complete-config``, as a search does;
- *restart*: the server is started anew and the model loaded.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.repository.patch import apply
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.options import SWITCH

ALEXNET = Path(__file__).resolve().parents[1] / "examples" / "alexnet"
COLUMNS = ("one more", "one less", "one less, anew", "reload, completing", "reload", "restart")
PYTHON = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(each, "X").as_numpy() for each in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)]) for x in inputs]
"""
CONFIGURATION = """backend: "python" max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""

Times = dict[str, list[float]]


def make_repository(folder: Path) -> None:
    """Write the two tiny models into ``folder``, and a link to AlexNet."""
    for name in ("onnx", "python"):
        (folder / name / "1").mkdir(parents=True)
    (folder / "python" / "config.pbtxt").write_text(CONFIGURATION)
    (folder / "python" / "1" / "model.py").write_text(PYTHON)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "XY"]
    graph = helper.make_graph([helper.make_node("Relu", ["X"], ["Y"])], "tiny", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "onnx" / "1" / "model.onnx")
    (folder / "alexnet").symlink_to(ALEXNET / "alexnet", target_is_directory=True)


def settle(server: EmbeddedServer, instances: int) -> None:
    """Wait until no process of an earlier configuration is left."""
    while (server.usage().children or 0) > instances:
        time.sleep(0.1)


def measure_one(server: EmbeddedServer, model: str, rounds: int) -> Times:
    """Return the seconds that each way took, ``rounds`` times, by its name."""
    times: Times = {column: [] for column in COLUMNS}
    server.restart({})
    server.control.load(model)
    default = server.control.configuration(model)

    def configure(**patch: Any) -> ModelConfig:
        return apply(default, {"instance_group": [{"count": 1, "kind": "KIND_CPU"}], **patch})

    def timed(column: str, action: Callable[[], object], instances: int) -> None:
        settle(server, instances)
        began = time.monotonic()
        action()
        times[column].append(time.monotonic() - began)

    def load(configuration: ModelConfig) -> None:
        server.control.load(model, configuration)

    one = configure()
    two = configure(**{"instance_group": [{"count": 2, "kind": "KIND_CPU"}]})
    other = configure(**{"parameters.turn": "1"})
    load(one)
    for _ in range(rounds):
        timed("reload, completing", lambda: load(other), 1)
        timed("reload, completing", lambda: load(one), 1)
        timed("one more", lambda: load(two), 1)
        timed("one less", lambda: load(one), 2)
    options: Mapping[str, Any] = {SWITCH: True}

    def anew() -> None:
        server.control.begin_unload(model)
        load(one)

    def after_restart() -> None:
        server.restart(options)
        load(one)

    server.restart(options)
    load(one)
    for _ in range(rounds):
        timed("reload", lambda: load(other), 1)
        timed("reload", lambda: load(one), 1)
        load(two)
        settle(server, 2)
        timed("one less, anew", anew, 2)
        timed("restart", after_restart, 1)
    return times


def main() -> None:
    """Measure the models and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="onnx,python,alexnet")
    chosen = parser.parse_args()
    models = chosen.models.split(",")
    if "alexnet" in models and not (ALEXNET / "alexnet" / "1" / "model.onnx").exists():
        subprocess.run([sys.executable, str(ALEXNET / "build.py")], check=True)
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    with tempfile.TemporaryDirectory() as name:
        repository = Path(name) / "models"
        repository.mkdir()
        make_repository(repository)
        server = EmbeddedServer(repository, output=Path(name))
        server.start()
        try:
            for model in models:
                times = measure_one(server, model, chosen.rounds)
                medians = [f"{statistics.median(times[column]):.2f} s" for column in COLUMNS]
                print(f"| {model} | " + " | ".join(medians) + " |", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
