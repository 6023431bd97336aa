"""The ``pytorch`` backend: named like the official one, so that a repository made for it is served unchanged."""

from __future__ import annotations

from collections.abc import Mapping

from ..common.backend import Completed, Config, Opened, Place
from ..common.instance import Instance
from ..common.refusal import RefusalError
from ..common.settings import locate_model
from .module import check_tensors, choose_device, import_torch, load_module, read_arguments
from .naming import place_inputs, place_outputs
from .network import TorchNetwork
from .options import apply_options, read_options

FILENAME = "model.pt"


class PyTorch:
    """Models in TorchScript files."""

    name = "pytorch"

    def needs_completion(self, config: Config) -> bool:
        """Tell whether inputs or outputs are missing."""
        return not config.get("input") or not config.get("output")

    def complete(self, config: Config, model_dir: str, settings: Mapping[str, str]) -> Completed:
        """Say that nothing can be completed: a TorchScript file says neither types nor shapes."""
        return Completed(
            dict(config), ("skipping model configuration auto-complete: not supported for pytorch backend",)
        )

    def open(self, config: Config, place: Place, settings: Mapping[str, str]) -> Opened:
        """Load the module."""
        model = config["name"]
        if config.get("platform") == "torch_aoti":
            raise RefusalError(
                f"unable to load model '{model}', platform torch_aoti (AOT Inductor) is not available here; a server"
                " with the official pytorch backend of 26.03 or later has it"
            )
        check_tensors(config)
        options = read_options(config)
        path = locate_model(place.version, config.get("default_model_filename", "") or FILENAME, model)
        torch = import_torch()
        device = choose_device(torch, place, model)
        apply_options(torch, options)
        module = load_module(torch, path, place, device, model)
        arguments, as_dictionary = read_arguments(config, module)
        network = TorchNetwork(
            torch,
            module,
            device,
            options,
            places=({} if as_dictionary else place_inputs(config, arguments), place_outputs(config)),
            types={entry["name"]: entry["data_type"] for entry in config["output"]},
            as_dictionary=as_dictionary,
        )
        return Opened(network, warnings=options.warnings)


class TritonPythonModel(Instance):
    """One instance of a TorchScript model."""

    backend = PyTorch()
