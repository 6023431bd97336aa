"""A model between its file and its compilation: completed, checked, converted to what the configuration declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.completion import declare, has_scheduler
from ..common.settings import default_max_batch_size
from ..common.signature import FREE, TensorInfo
from ..common.validation import check_count, configured_shape, find_tensor, refuse_dims
from .library import refusing
from .options import Options
from .tensors import element_type, read_signature


def read_graph(core: Any, path: Path, model: str) -> Any:
    """Read a model's file, or the folder of a TensorFlow SavedModel."""
    with refusing(f"unable to load model '{model}', {path}"):
        return core.read_model(str(path))


def complete(
    ov: Any, graph: Any, config: Mapping[str, Any], settings: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration completed by the rules of the official backend, and what to warn of.

    - Whether a model batches, its layout says: every input and output has an N. Converted models have a layout only
      where one was given.
    - Inputs or outputs are derived where none is declared. The official backend declares every dimension of a shape
      that is not fixed throughout as -1, and then refuses what it wrote; here only the free ones are.
    """
    completed, warnings = dict(config), []
    layouts = [ov.layout_helpers.get_layout(port) for port in (*graph.inputs, *graph.outputs)]
    if all(ov.layout_helpers.has_batch(layout) for layout in layouts):
        if not completed.get("max_batch_size", 0):
            completed["max_batch_size"] = max(default_max_batch_size(settings), 1)
        if completed["max_batch_size"] > 1 and not has_scheduler(completed):
            completed["dynamic_batching"] = {}
    elif completed.get("max_batch_size", 0):
        warnings.append("its layout does not support batching while non-zero max_batch_size is specified")
    signature = read_signature(graph)
    batching = completed.get("max_batch_size", 0) > 0
    for key, infos in (("input", signature.inputs), ("output", signature.outputs)):
        if completed.get(key):
            continue
        completed[key] = [declare(info, batching) for info in infos]
        mixed = [info.name for info in infos if FREE in info.shape and {*info.shape[batching:]} - {FREE}]
        if mixed:
            warnings.append(
                f"dims of {', '.join(mixed)} are taken from the model; the official openvino backend wants them in"
                " config.pbtxt"
            )
    return completed, warnings


def prepare(ov: Any, graph: Any, config: Mapping[str, Any], options: Options) -> Any:
    """Check the configuration against a model, and return the model with the declared types and batch size.

    OpenVINO converts between the declared types and the model's own.
    """
    model, batch = config["name"], config.get("max_batch_size", 0)
    signature = read_signature(graph)
    check_count(model, len(config.get("input", ())), len(signature.inputs))
    steps = ov.preprocess.PrePostProcessor(graph)
    for entry in config.get("input", ()):
        info = find_tensor(entry["name"], "input", signature.inputs)
        tensor = steps.input(info.name).tensor()
        tensor.set_element_type(element_type(ov, model, entry, "input"))
        dims = configured_shape(entry)
        if options.reshape:
            batch_dim = list(info.shape[:1]) if batch else []
            tensor.set_shape(ov.PartialShape([*batch_dim, *dims]))
        else:
            _check_dims(config, info, dims, exact=False)
        if batch:
            tensor.set_layout(ov.Layout("N..."))
    with refusing(f"unable to load model '{model}', the inputs that it declares"):
        graph = steps.build()
        if batch:
            ov.set_batch(graph, batch)
    outputs = read_signature(graph).outputs
    steps = ov.preprocess.PrePostProcessor(graph)
    for entry in config["output"]:
        info = find_tensor(entry["name"], "output", outputs)
        steps.output(info.name).tensor().set_element_type(element_type(ov, model, entry, "output"))
        _check_dims(config, info, configured_shape(entry), exact=True)
    with refusing(f"unable to load model '{model}', the outputs that it declares"):
        return steps.build()


def _check_dims(config: Mapping[str, Any], info: TensorInfo, dims: Sequence[int], *, exact: bool) -> None:
    """Compare dims as the official backend does: with ``exact`` also the batch dimension, and each that is free."""
    batch = config.get("max_batch_size", 0)
    full = [batch, *dims] if batch else list(dims)
    exact = exact or not batch
    same = len(info.shape) == len(full) and all(
        provided in (FREE, given) or (not exact and (place == 0 or given == FREE))
        for place, (provided, given) in enumerate(zip(info.shape, full, strict=True))
    )
    if not same:
        raise refuse_dims(config, info, full)
