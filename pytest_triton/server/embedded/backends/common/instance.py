"""One instance of a model: the way from Triton's objects to a backend's network and back.

Triton imports the backend's ``model.py`` in a process per instance, and once per load to auto-complete the
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import triton_python_backend_utils as pb_utils

from .backend import Backend, Place
from .batching import Array, count_batch, group_requests, join_inputs, split_output
from .bfloat16 import read_capsule, write_capsule
from .ragged import SCATTER, add_batch_inputs, scatter_output
from .refusal import RefusalError
from .settings import read_backend_settings
from .validation import check_supported, configured_shape


class Instance:
    """What every backend's ``TritonPythonModel`` is; ``backend`` says whose."""

    backend: ClassVar[Backend]

    @classmethod
    def auto_complete_config(cls, auto_complete_model_config: Any) -> Any:
        """Fill in what config.pbtxt leaves out, if anything; only then is the model read."""
        # Triton sends back this very dictionary. The setters around it cannot express a reshape, which a scalar per
        # batch element needs.
        config = auto_complete_model_config.as_dict()
        if cls.backend.needs_completion(config):
            with _refusals_for_triton():
                settings = read_backend_settings(cls.backend.name)
                completed = cls.backend.complete(config, pb_utils.get_model_dir(), settings)
            config.update(completed.config)
            _warn(config["name"], completed.warnings)
        return auto_complete_model_config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model for this instance and check the configuration against it."""
        config = json.loads(args["model_config"])
        place = Place(
            version=Path(args["model_repository"], args["model_version"]),
            kind=args["model_instance_kind"],
            device=int(args["model_instance_device_id"]),
        )
        with _refusals_for_triton():
            check_supported(config, self.backend.name)
            opened = self.backend.open(config, place, read_backend_settings(self.backend.name))
        _warn(config["name"], opened.warnings)
        self._network = opened.network
        self._errors: tuple[type[Exception], ...] = (RefusalError, *opened.errors)
        self._read_layout(config)

    def _read_layout(self, config: Mapping[str, Any]) -> None:
        """Keep of the configuration what an execution needs."""
        self._batching = config.get("max_batch_size", 0) > 0
        self._ragged = {entry["name"] for entry in config.get("input", ()) if entry.get("allow_ragged_batch", False)}
        self._batch_inputs = config.get("batch_input", ())
        self._scattered = {
            target: entry["source_input"][0]
            for entry in config.get("batch_output", ())
            for target in entry["target_name"]
            if entry.get("kind", SCATTER) == SCATTER
        }
        self._output_dims = {entry["name"]: [int(dim) for dim in entry["dims"]] for entry in config["output"]}
        self._output_shapes = {entry["name"]: configured_shape(entry) for entry in config["output"]}
        tensors = (*config.get("input", ()), *config["output"])
        self._bfloat16 = {entry["name"] for entry in tensors if entry["data_type"] == "TYPE_BF16"}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request of a batch, each with its outputs or with an error of its own."""
        received = [{tensor.name(): self._read_tensor(tensor) for tensor in request.inputs()} for request in requests]
        wanted = [list(request.requested_output_names()) for request in requests]
        responses: list[Any] = [None] * len(requests)
        for group in group_requests(received, batching=self._batching, ragged=self._ragged):
            answers = self._answer([received[place] for place in group], [wanted[place] for place in group])
            for place, answer in zip(group, answers, strict=True):
                responses[place] = answer
        return responses

    def _answer(self, received: Sequence[Mapping[str, Array]], wanted: Sequence[Sequence[str]]) -> list[Any]:
        """Run requests together; if that fails, each alone, so that a bad one fails only itself."""
        try:
            outputs = self._compute(received, wanted)
        except self._errors as error:
            if len(received) > 1:
                return [self._answer([one], [names])[0] for one, names in zip(received, wanted, strict=True)]
            return [pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))]
        return [
            pb_utils.InferenceResponse([self._make_tensor(name, outputs[name][place]) for name in names])
            for place, names in enumerate(wanted)
        ]

    def _compute(
        self, received: Sequence[Mapping[str, Array]], wanted: Sequence[Sequence[str]]
    ) -> dict[str, Sequence[Array]]:
        """Return, per output that any request wants, its part for each request."""
        joined = join_inputs(received, self._ragged)
        add_batch_inputs(joined, self._batch_inputs, received)
        # A request that wants no output is answered with none, but its computation is what it asked for.
        names = list(dict.fromkeys(name for some in wanted for name in some)) or list(self._output_shapes)
        outputs = self._network.run(joined, names)
        return {name: self._divide(name, output, received) for name, output in outputs.items()}

    def _divide(self, name: str, output: Array, received: Sequence[Mapping[str, Array]]) -> Sequence[Array]:
        if name in self._scattered:
            shapes = [tensors[self._scattered[name]].shape for tensors in received]
            return scatter_output(name, output, self._output_dims[name], shapes)
        if self._batching:
            return split_output(name, output, [count_batch(tensors) for tensors in received])
        return [output if output.ndim else output.reshape(self._output_shapes[name])]

    def _read_tensor(self, tensor: Any) -> Array:
        """Return a request's tensor. Numbers share Triton's memory, which stays until the responses are returned."""
        if tensor.name() in self._bfloat16:
            return read_capsule(tensor.to_dlpack())
        array: Array = tensor.as_numpy()
        return array

    def _make_tensor(self, name: str, array: Array) -> Any:
        if name in self._bfloat16:
            return pb_utils.Tensor.from_dlpack(name, write_capsule(array))
        return pb_utils.Tensor(name, array)


@contextmanager
def _refusals_for_triton() -> Iterator[None]:
    """Hand a refusal to Triton as the reason why the load failed."""
    try:
        yield
    except RefusalError as refusal:
        raise pb_utils.TritonModelException(str(refusal)) from refusal


def _warn(model: str, warnings: Sequence[str]) -> None:
    for warning in warnings:
        pb_utils.Logger.log_warn(f"model '{model}': {warning}")
