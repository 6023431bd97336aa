"""Complete a model configuration from the model's signature, by the rules of the official onnxruntime backend.

- Only where ``input`` (with ``batch_input``) or ``output`` is missing altogether is anything derived. A configuration
  that has both keeps its ``max_batch_size``, also 0, and gets no scheduler.
- ``max_batch_size`` becomes the server's ``default-max-batch-size`` when it is 0 and the first dimension of every input
  and output is free. If that makes it greater than 1 and no scheduler is set, dynamic batching is.
- A non-zero ``max_batch_size`` for a model that cannot batch is an error.

Beyond those rules, an input or output that is named but lacks its data type or its dims gets them. The official server
refuses such a configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .refusal import RefusalError
from .signature import Signature, TensorInfo

SCHEDULERS = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")


def needs_completion(config: Mapping[str, Any]) -> bool:
    """Tell whether the model has to be read at all; a large model takes its time."""
    return _lacks(config, "input") or _lacks(config, "output") or bool(find_incomplete(config))


def find_incomplete(config: Mapping[str, Any]) -> list[str]:
    """Name the inputs and outputs that are declared without a data type or without dims."""
    return [entry["name"] for key in ("input", "output") for entry in config.get(key, ()) if _is_incomplete(entry)]


def complete_config(config: Mapping[str, Any], signature: Signature, default_max_batch_size: int) -> dict[str, Any]:
    """Return the completed configuration; ``config`` is left as it is.

    Both are the JSON form of ``ModelConfig``. Whether the result fits the model is checked when an instance is made.
    """
    completed = dict(config)
    lacks_inputs, lacks_outputs = _lacks(config, "input"), _lacks(config, "output")
    if lacks_inputs or lacks_outputs:
        _complete_batching(completed, signature, default_max_batch_size)
    batching = completed.get("max_batch_size", 0) > 0
    for key, lacking, infos in (
        ("input", lacks_inputs, signature.inputs),
        ("output", lacks_outputs, signature.outputs),
    ):
        if lacking:
            completed[key] = [declare(info, batching) for info in infos]
        else:
            completed[key] = _fill(completed.get(key, ()), (*infos, *signature.initializers), batching)
    return completed


def has_scheduler(config: Mapping[str, Any]) -> bool:
    """Tell whether a scheduler is chosen."""
    return any(scheduler in config for scheduler in SCHEDULERS)


def _lacks(config: Mapping[str, Any], key: str) -> bool:
    return not config.get(key) and not (key == "input" and config.get("batch_input"))


def _is_incomplete(entry: Mapping[str, Any]) -> bool:
    return entry.get("data_type", "TYPE_INVALID") == "TYPE_INVALID" or not entry.get("dims")


def _complete_batching(config: dict[str, Any], signature: Signature, default_max_batch_size: int) -> None:
    max_batch_size = config.get("max_batch_size", 0)
    if not signature.can_batch():
        if max_batch_size:
            raise RefusalError(
                f"autofill failed for model '{config['name']}': model does not support batching while non-zero"
                " max_batch_size is specified"
            )
        return
    if not max_batch_size:
        config["max_batch_size"] = max_batch_size = max(default_max_batch_size, 0)
    if max_batch_size > 1 and not has_scheduler(config):
        config["dynamic_batching"] = {}


def declare(info: TensorInfo, batching: bool) -> dict[str, Any]:
    """Write an input or output as the configuration has it."""
    declared: dict[str, Any] = {"name": info.name, "data_type": info.data_type, **_declare_shape(info, batching)}
    return declared


def _declare_shape(info: TensorInfo, batching: bool) -> dict[str, Any]:
    """``dims`` may not be empty: a scalar is declared as [1], and one per batch element is reshaped from it."""
    dims = list(info.shape[1:] if batching else info.shape)
    if dims:
        return {"dims": dims}
    return {"dims": [1], "reshape": {"shape": []}} if batching else {"dims": [1]}


def _fill(entries: Iterable[Mapping[str, Any]], infos: Iterable[TensorInfo], batching: bool) -> list[dict[str, Any]]:
    known = {info.name: info for info in infos}
    filled = []
    for entry in entries:
        full = dict(entry)
        info = known.get(full["name"])
        if info is not None:
            if full.get("data_type", "TYPE_INVALID") == "TYPE_INVALID":
                full["data_type"] = info.data_type
            if not full.get("dims"):
                full.update(_declare_shape(info, batching))
        filled.append(full)
    return filled
