"""Which backend a model is for, as Triton takes it: by its configuration, else by the name of its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.repository.configuration import normalise

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_FILES = {
    "model.onnx": "onnxruntime",
    "model.py": "python",
    "model.plan": "tensorrt",
    "model.pt": "pytorch",
    "model.graphdef": "tensorflow",
    "model.savedmodel": "tensorflow",
    "model.xml": "openvino",
    "model.dali": "dali",
}


def backend_of(folder: Path, configuration: ModelConfig | None) -> str:
    """Return the backend of the model in ``folder``, "" where nothing says which; ``configuration`` is as written."""
    named = str(normalise(configuration).backend) if configuration is not None else ""
    files = (file.name for file in sorted(folder.glob("*/*")) if file.parent.name.isdecimal())
    return named or next((_FILES[name] for name in files if name in _FILES), "")
