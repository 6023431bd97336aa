"""A Python model that computes on a GPU, and what its tests need."""

import importlib.util
from pathlib import Path

import pytest
from python_models import write_model

from pytest_triton.server.nvml import list_gpus

needs_gpu = pytest.mark.skipif(
    not list_gpus() or importlib.util.find_spec("torch") is None, reason="needs an NVIDIA GPU and torch"
)
HELD = 2**30
"""Bytes of GPU memory that the model holds."""
_CONFIGURATION = """backend: "python"
max_batch_size: 8
instance_group [ {{ count: 1 kind: KIND_GPU }} ]
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
_CODE = """
import os

import torch
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        assert args["model_instance_kind"] == "GPU"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        with open(os.path.join(args["model_repository"], "seen"), "a") as seen:
            seen.write(f"{{torch.cuda.device_count()}} {{visible}}\\n")
        self.device = torch.device("cuda", int(args["model_instance_device_id"]))
        self.held = torch.zeros({held}, dtype=torch.uint8, device=self.device)
        self.weights = torch.rand(4096, 4096, device=self.device)

    def execute(self, requests):
        responses = []
        for request in requests:
            x = torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "X").to_dlpack()).to(self.device)
            product = self.weights
            for _ in range(10):
                product = torch.tanh(product @ self.weights)
            y = x + 0 * product.sum()
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", torch.utils.dlpack.to_dlpack(y))])
            )
        torch.cuda.synchronize(self.device)
        return responses
"""


def write_gpu_model(repository: Path, name: str) -> Path:
    """Write a model that returns X as Y after some work on a GPU, ``HELD`` bytes of whose memory it holds.

    A line of its file ``seen`` has how many GPUs CUDA shows it, and CUDA_VISIBLE_DEVICES.
    """
    folder = write_model(repository, name, configuration=_CONFIGURATION, dims="[ 4 ]")
    (folder / "1" / "model.py").write_text(_CODE.format(held=HELD))
    return folder
