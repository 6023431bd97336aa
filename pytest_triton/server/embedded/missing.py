"""What to say about a model whose backend the embedded server does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytest_triton.errors import ModelLoadError
from pytest_triton.server.embedded.backend_directory import python_backends

# Platforms that Triton knows by name, and the backend of each.
_PLATFORMS: Mapping[str, str] = {
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "ensemble": "",
}
# What one or the other official container brings and the embedded server does not.
_OFFICIAL = frozenset(
    {
        "dali",
        "fil",
        "identity",
        "openvino",
        "pytorch",
        "repeat",
        "square",
        "tensorflow",
        "tensorrt",
        "tensorrtllm",
        "vllm",
    }
)
_NOT_FOUND = (
    re.compile(r"unable to find backend library for backend '([^']+)'"),
    re.compile(r"unable to find '?lib(?:triton_)?([a-z0-9_]+)\.so'?"),
    re.compile(r"unable to find backend '([^']+)'"),
)


def embedded_backends() -> tuple[str, ...]:
    """Name the backends that the embedded server has."""
    return tuple(sorted({"python", *python_backends()}))


def backend_of(backend: str, platform: str) -> str:
    """Return the backend that a configuration's ``backend`` and ``platform`` ask for; "" for an ensemble or none."""
    return backend or _PLATFORMS.get(platform, platform)


def require_backend(model: str, *, backend: str = "", platform: str = "") -> None:
    """Raise ``ModelLoadError`` when the embedded server lacks the backend that ``model`` is configured for."""
    wanted = backend_of(backend, platform)
    if wanted and wanted not in embedded_backends():
        raise ModelLoadError(
            f"the embedded server has no backend {wanted!r}, which {model} needs",
            reason=f"no backend {wanted!r}",
            model=model,
            hint=_way_out(wanted),
        )


def advise_missing_backend(reason: str) -> str:
    """Say what to do when ``reason``, Triton's for refusing a model, is that it has no such backend; else ""."""
    for pattern in _NOT_FOUND:
        found = pattern.search(reason)
        if found is not None and found[1] not in embedded_backends():
            return _way_out(found[1])
    return ""


def _way_out(backend: str) -> str:
    there = f"The embedded server has the backends {', '.join(embedded_backends())}. "
    if backend in _OFFICIAL:
        return there + (
            f"An official container has {backend!r}: use --triton-server=docker with --triton-image, "
            "--triton-server=local inside the container, or the URL of a server that has it."
        )
    return there + f"{backend!r} is no official one either: use a server that has it, or correct the configuration."
