"""The ``openvino`` backend: named like the official one, so that a repository made for it is served unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.backend import Completed, Config, Opened, Place
from ..common.completion import has_scheduler
from ..common.instance import Instance
from ..common.refusal import RefusalError
from ..common.settings import locate_model, locate_version
from .graph import complete, prepare, read_graph
from .library import import_openvino, refusing
from .network import CompiledNetwork
from .options import Options, read_options

FILENAME = "model.xml"


class OpenVino:
    """Models in OpenVINO's intermediate representation, ONNX, TensorFlow, TensorFlow Lite and PaddlePaddle files."""

    name = "openvino"

    def needs_completion(self, config: Config) -> bool:
        """Tell whether inputs or outputs are missing, or a scheduler may be."""
        incomplete = not config.get("input") or not config.get("output")
        return incomplete or (config.get("max_batch_size", 0) > 1 and not has_scheduler(config))

    def complete(self, config: Config, model_dir: str, settings: Mapping[str, str]) -> Completed:
        """Fill in what the model says."""
        ov = import_openvino()
        version = locate_version(model_dir, config.get("default_model_filename", ""))
        graph = _read(_make_core(ov, read_options(config)), version, config)
        completed, warnings = complete(ov, graph, config, settings)
        return Completed(completed, tuple(warnings))

    def open(self, config: Config, place: Place, settings: Mapping[str, str]) -> Opened:
        """Compile the model."""
        model = config["name"]
        if place.kind != "CPU":
            raise RefusalError(
                f"unable to load model '{model}', the openvino backend supports only KIND_CPU, as the official one;"
                " another device is named by the parameter TARGET_DEVICE"
            )
        options = read_options(config)
        ov = import_openvino()
        core = _make_core(ov, options)
        graph = prepare(ov, _read(core, place.version, config), config, options)
        with refusing(f"unable to load model '{model}', configuring openvino core"):
            for name, value in options.properties.items():
                core.set_property(options.device, {name: value})
        with refusing(f"unable to load model '{model}', compiling it for {options.device}"):
            compiled = core.compile_model(graph, options.device, {"ALLOW_AUTO_BATCHING": options.auto_batching})
        network = CompiledNetwork(ov, compiled, config.get("max_batch_size", 0), padding=options.padding)
        return Opened(network, warnings=options.warnings)


class TritonPythonModel(Instance):
    """One instance of a model that OpenVINO runs."""

    backend = OpenVino()


def _make_core(ov: Any, options: Options) -> Any:
    core = ov.Core()
    if options.extension:
        with refusing(f"loading custom CPU extensions from {options.extension}"):
            core.add_extension(options.extension)
    return core


def _read(core: Any, version: Path, config: Config) -> Any:
    filename = config.get("default_model_filename", "") or FILENAME
    return read_graph(core, locate_model(version, filename, config["name"]), config["name"])
