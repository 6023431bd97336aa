"""Load a TorchScript module, and check a model configuration against its ``forward``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.backend import Place
from ..common.library import import_library
from ..common.refusal import RefusalError
from ..common.validation import check_count, configured_shape, list_controls
from .network import DATA_TYPES


def import_torch() -> Any:
    """Import PyTorch. Raises ``RefusalError``."""
    return import_library("torch", "jit", "pip install torch (or Debian's package python3-torch)")


def choose_device(torch: Any, place: Place, model: str) -> Any:
    """Return the device that inputs are put on; a KIND_MODEL instance gets them on the CPU."""
    if place.kind != "GPU":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RefusalError(
            f"unable to load model '{model}', an instance of KIND_GPU needs a GPU and a PyTorch built for CUDA, which"
            f" the server's Python does not have (torch {torch.__version__}): install one, use a server with the"
            " official pytorch backend, or write instance_group { kind: KIND_CPU }"
        )
    return torch.device("cuda", place.device)


def load_module(torch: Any, path: Path, place: Place, device: Any, model: str) -> Any:
    """Load the module onto its device. Raises ``RefusalError`` with the file and PyTorch's reason."""
    try:
        module = torch.jit.load(str(path)) if place.kind == "MODEL" else torch.jit.load(str(path), device)
    except (RuntimeError, ValueError) as error:
        raise RefusalError(f"failed to load model '{model}', {path}: {error}") from error
    module.eval()
    return module


def read_arguments(config: Mapping[str, Any], module: Any) -> tuple[list[str], bool]:
    """Return the names of ``forward``'s arguments, and whether the one that it has is a dictionary of tensors.

    Raises ``RefusalError`` where they are not what Triton can give, or not as many as the configuration declares.
    """
    arguments = [argument for argument in module.forward.schema.arguments if argument.type.kind() != "ClassType"]
    kinds = [argument.type.kind() for argument in arguments]
    if kinds == ["DictType"]:
        return [arguments[0].name], True
    for argument, kind in zip(arguments, kinds, strict=True):
        if kind not in ("TensorType", "ListType"):
            raise RefusalError(
                f"unable to load model '{config['name']}', an input of type '{argument.type}' was detected in the"
                " model. Only a single input of type Dict(str, Tensor) or input(s) of type Tensor are supported."
            )
    check_count(config["name"], _count_inputs(config), len(arguments))
    return [argument.name for argument in arguments], False


def check_tensors(config: Mapping[str, Any]) -> None:
    """Check what can be checked of inputs and outputs before the model has run: it says neither types nor shapes."""
    for kind in ("input", "output"):
        if not config.get(kind):
            raise RefusalError(
                f"unable to load model '{config['name']}', model configuration must contain at least one {kind}, none"
                f" were specified: a TorchScript file does not say what its {kind}s are"
            )
        for entry in config[kind]:
            _check_tensor(config, entry, kind)


def _check_tensor(config: Mapping[str, Any], entry: Mapping[str, Any], kind: str) -> None:
    if entry["data_type"] not in DATA_TYPES:
        raise RefusalError(
            f"unsupported datatype {entry['data_type']} for {kind} '{entry['name']}' for model '{config['name']}'"
        )
    rank = len(configured_shape(entry)) + (config.get("max_batch_size", 0) > 0)
    if entry["data_type"] == "TYPE_STRING" and rank > 1:
        raise RefusalError(
            f"Triton only supports 1 dimensional List of String as {kind} for '{entry['name']}' for model"
            f" '{config['name']}'"
        )


def _count_inputs(config: Mapping[str, Any]) -> int:
    added = sum(len(entry["target_name"]) for entry in config.get("batch_input", ()))
    return len(config["input"]) + added + len(list_controls(config))
