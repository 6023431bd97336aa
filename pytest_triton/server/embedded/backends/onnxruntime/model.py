"""The ``onnxruntime`` backend: named like the official one, so that a repository made for it is served unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..common.backend import Completed, Config, Opened, Place
from ..common.completion import complete_config, find_incomplete, needs_completion
from ..common.instance import Instance
from ..common.settings import default_max_batch_size, locate_model, locate_version
from ..common.validation import check_config
from .options import build_run_options, build_session_options, read_options
from .providers import choose_providers
from .runner import Runner
from .session import import_onnxruntime, list_errors, open_session, read_model_signature
from .tensors import read_signature

FILENAME = "model.onnx"


class OnnxRuntime:
    """Models in ONNX files."""

    name = "onnxruntime"

    def needs_completion(self, config: Config) -> bool:
        """Tell whether inputs or outputs are missing, or incomplete."""
        return needs_completion(config)

    def complete(self, config: Config, model_dir: str, settings: Mapping[str, str]) -> Completed:
        """Fill in what the model says, by the rules of the official backend."""
        model, filename = config["name"], config.get("default_model_filename", "")
        incomplete = find_incomplete(config)
        warning = (
            f"data_type or dims of {', '.join(incomplete)} are taken from the model; the official onnxruntime backend"
            " wants them in config.pbtxt"
        )
        path = _locate(locate_version(model_dir, filename), config)
        signature = read_model_signature(import_onnxruntime(), path, read_options(config, settings), model)
        completed = complete_config(config, signature, default_max_batch_size(settings))
        return Completed(completed, (warning,) if incomplete else ())

    def open(self, config: Config, place: Place, settings: Mapping[str, str]) -> Opened:
        """Make a session."""
        model = config["name"]
        options = read_options(config, settings)
        path = _locate(place.version, config)
        ort = import_onnxruntime()
        providers = choose_providers(config, place.kind, place.device, ort.get_available_providers())
        session = open_session(ort, path, build_session_options(ort, options), providers, model)
        signature = read_signature(session)
        check_config(config, signature)
        runner = Runner(ort, session, signature, build_run_options(ort, options))
        warnings = [f"parameters that mean nothing to onnxruntime: {', '.join(options.ignored)}"]
        return Opened(runner, list_errors(ort), tuple(warnings) if options.ignored else ())


def _locate(version: Path, config: Config) -> Path:
    """Return the ONNX file, which may lie in a folder that has its name."""
    path = locate_model(version, config.get("default_model_filename", "") or FILENAME, config["name"])
    return locate_model(path, FILENAME, config["name"]) if path.is_dir() else path


class TritonPythonModel(Instance):
    """One instance of an ONNX model."""

    backend = OnnxRuntime()
