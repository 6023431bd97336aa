"""The ``onnxruntime`` backend, written in Python: what Triton calls.

Named like the official C++ backend, so that a model repository made for it is served unchanged by a Triton that has
only the Python backend. Triton finds this file as ``<backend-directory>/onnxruntime/model.py``, puts its folder at the
end of ``sys.path`` and imports it in a process per model instance (and once per load to auto-complete the
configuration). What the backend knows is in ``ort_backend``; here is only the way from and to Triton's objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from .ort_backend.batching import Array, count_batch, group_requests, join_inputs, split_output
    from .ort_backend.bfloat16 import read_capsule, write_capsule
    from .ort_backend.completion import complete_config, find_incomplete, needs_completion
    from .ort_backend.options import build_run_options, build_session_options, read_options
    from .ort_backend.providers import choose_providers
    from .ort_backend.ragged import SCATTER, add_batch_inputs, scatter_output
    from .ort_backend.refusal import RefusalError
    from .ort_backend.runner import Runner
    from .ort_backend.session import import_onnxruntime, list_errors, open_session, read_model_signature
    from .ort_backend.settings import default_max_batch_size, locate_model, locate_version, read_backend_settings
    from .ort_backend.signature import Signature, read_signature
    from .ort_backend.validation import check_config, check_supported, configured_shape
else:
    from ort_backend.batching import count_batch, group_requests, join_inputs, split_output
    from ort_backend.bfloat16 import read_capsule, write_capsule
    from ort_backend.completion import complete_config, find_incomplete, needs_completion
    from ort_backend.options import build_run_options, build_session_options, read_options
    from ort_backend.providers import choose_providers
    from ort_backend.ragged import SCATTER, add_batch_inputs, scatter_output
    from ort_backend.refusal import RefusalError
    from ort_backend.runner import Runner
    from ort_backend.session import import_onnxruntime, list_errors, open_session, read_model_signature
    from ort_backend.settings import default_max_batch_size, locate_model, locate_version, read_backend_settings
    from ort_backend.signature import read_signature
    from ort_backend.validation import check_config, check_supported, configured_shape


class TritonPythonModel:
    """One instance of an ONNX model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in what config.pbtxt leaves out, if anything; only then is the model read."""
        # Triton sends back this very dictionary. The setters around it cannot express a reshape, which a scalar per
        # batch element needs.
        config = auto_complete_model_config.as_dict()
        if needs_completion(config):
            with _refusals_for_triton():
                _complete(config)
        return auto_complete_model_config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Make the session of this instance and check the configuration against it."""
        config = json.loads(args["model_config"])
        model = config["name"]
        with _refusals_for_triton():
            check_supported(config)
            options = read_options(config, read_backend_settings())
            version_dir = Path(args["model_repository"], args["model_version"])
            path = locate_model(version_dir, config.get("default_model_filename", ""), model)
            ort = import_onnxruntime()
            kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
            providers = choose_providers(config, kind, device, ort.get_available_providers())
            session = open_session(ort, path, build_session_options(ort, options), providers, model)
            signature = read_signature(session)
            check_config(config, signature)
            self._runner = Runner(ort, session, signature, build_run_options(ort, options))
        if options.ignored:
            _warn(f"model '{model}': parameters that mean nothing to onnxruntime: {', '.join(options.ignored)}")
        self._errors = list_errors(ort)
        self._read_layout(config, signature)

    def _read_layout(self, config: Mapping[str, Any], signature: Signature) -> None:
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
        tensors = (*signature.inputs, *signature.initializers, *signature.outputs)
        self._bfloat16 = {info.name for info in tensors if info.data_type == "TYPE_BF16"}

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
        outputs = self._runner.run(joined, names)
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


def _complete(config: dict[str, Any]) -> None:
    """Complete the JSON form of a ``ModelConfig`` in place."""
    model, filename = config["name"], config.get("default_model_filename", "")
    incomplete = find_incomplete(config)
    if incomplete:
        _warn(
            f"model '{model}': data_type or dims of {', '.join(incomplete)} are taken from the model; the official"
            " onnxruntime backend wants them in config.pbtxt"
        )
    settings = read_backend_settings()
    path = locate_model(locate_version(pb_utils.get_model_dir(), filename), filename, model)
    signature = read_model_signature(import_onnxruntime(), path, read_options(config, settings), model)
    config.update(complete_config(config, signature, default_max_batch_size(settings)))


@contextmanager
def _refusals_for_triton() -> Iterator[None]:
    """Hand a refusal to Triton as the reason why the load failed."""
    try:
        yield
    except RefusalError as refusal:
        raise pb_utils.TritonModelException(str(refusal)) from refusal


def _warn(message: str) -> None:
    pb_utils.Logger.log_warn(message)
