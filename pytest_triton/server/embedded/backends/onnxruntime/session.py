"""Import ONNX Runtime, open models with it, read what they say of themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.library import import_library
from ..common.refusal import RefusalError
from ..common.signature import Signature
from .options import RuntimeOptions, build_reading_options
from .providers import Provider
from .skeleton import read_skeleton
from .tensors import read_signature


def import_onnxruntime() -> Any:
    """Import ONNX Runtime. Raises ``RefusalError``."""
    # Newer versions report their use over the network from a thread beside the model, and keep a database for it in the
    # home directory. Neither belongs into a measurement. Only this variable, set before the import, prevents both.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_library("onnxruntime", "InferenceSession", 'pip install "pytest-triton[embedded]"')


def list_errors(ort: Any) -> tuple[type[Exception], ...]:
    """Name what opening or running a model may raise; ONNX Runtime's errors have no base of their own."""
    state = vars(ort.capi.onnxruntime_pybind11_state).values()
    own = [value for value in state if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RefusalError, RuntimeError, TypeError, ValueError)


def open_session(ort: Any, path: Path, options: Any, providers: Sequence[Provider], model: str) -> Any:
    """Make a session. Raises ``RefusalError`` with the file and ONNX Runtime's reason."""
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except list_errors(ort) as error:
        raise RefusalError(f"unable to load model '{model}', {path}: {error}") from error


def read_model_signature(ort: Any, path: Path, options: RuntimeOptions, model: str) -> Signature:
    """Read a model's signature without its weights, which takes milliseconds for a model of any size.

    A few operators insist on constant weights; a model with those is opened as it is. So is one that is broken, for the
    reason that ONNX Runtime gives.
    """
    reading = build_reading_options(ort, options)
    providers: list[Provider] = [("CPUExecutionProvider", {})]
    try:
        skeleton = read_skeleton(path)
        session = ort.InferenceSession(skeleton.model, reading, providers=providers)
    except list_errors(ort):
        return read_signature(open_session(ort, path, reading, providers, model))
    signature = read_signature(session)
    return Signature(
        inputs=tuple(info for info in signature.inputs if info.name not in skeleton.weights),
        outputs=signature.outputs,
        initializers=signature.initializers,
    )
