"""Check a complete model configuration against the model, when an instance is made.

The rules and the wording of the common errors follow the official backend: inputs may be stricter than the model,
outputs must say exactly what the model says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .refusal import RefusalError
from .signature import FREE, Signature, TensorInfo, format_shape

CONTROLS = (
    "CONTROL_SEQUENCE_START",
    "CONTROL_SEQUENCE_END",
    "CONTROL_SEQUENCE_READY",
    "CONTROL_SEQUENCE_CORRID",
)


def check_supported(config: Mapping[str, Any], backend: str) -> None:
    """Refuse what a backend written in Python cannot do, by name, before the model is read."""
    model = config["name"]
    if config.get("sequence_batching", {}).get("state"):
        raise RefusalError(
            f"unable to load model '{model}', sequence_batching.state (implicit state) is not available to backends"
            f" written in Python; a server with the official {backend} backend may have it"
        )
    if config.get("model_transaction_policy", {}).get("decoupled"):
        raise RefusalError(
            f"unable to load model '{model}', model_transaction_policy.decoupled: a model of the {backend} backend"
            " answers each request once"
        )


def check_config(config: Mapping[str, Any], signature: Signature) -> None:
    """Compare number, names, data types and dims of inputs and outputs; ``RefusalError`` at the first difference."""
    _check_inputs(config, signature)
    inputs = (*signature.inputs, *signature.initializers)
    for entry in config.get("input", ()):
        info = find_tensor(entry["name"], "input", inputs)
        _check_type(config, entry, info, "input")
        _check_input_dims(config, entry, info)
    for target, data_type in _list_targets(config):
        info = find_tensor(target, "input", inputs)
        _check_type(config, {"name": target, "data_type": data_type}, info, "input")
    for control in list_controls(config):
        _check_control(config, control, inputs)
    scattered = {target for batch_output in config.get("batch_output", ()) for target in batch_output["target_name"]}
    for entry in config.get("output", ()):
        info = find_tensor(entry["name"], "output", signature.outputs)
        _check_type(config, entry, info, "output")
        # What a batch output looks like to the model is not what a response looks like.
        if entry["name"] not in scattered:
            _check_dims(config, info, configured_shape(entry), exact=True)


def configured_shape(entry: Mapping[str, Any]) -> list[int]:
    """Return the shape that the model sees, without the batch dimension: ``reshape`` if there is one, else ``dims``."""
    reshape = entry.get("reshape")
    shape = reshape.get("shape", ()) if reshape is not None else entry["dims"]
    return [int(dim) for dim in shape]


def _list_targets(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, entry["data_type"]) for entry in config.get("batch_input", ()) for name in entry["target_name"]]


def list_controls(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name the inputs that the sequence batcher adds, with the data type that their values imply."""
    controls = []
    for control_input in config.get("sequence_batching", {}).get("control_input", ()):
        for control in control_input["control"]:
            if control.get("kind", CONTROLS[0]) not in CONTROLS:
                continue
            data_type = control.get("data_type", "TYPE_INVALID")
            for field, implied in (
                ("fp32_false_true", "TYPE_FP32"),
                ("int32_false_true", "TYPE_INT32"),
                ("bool_false_true", "TYPE_BOOL"),
            ):
                if control.get(field):
                    data_type = implied
            controls.append({"name": control_input["name"], "data_type": data_type})
    return controls


def _check_inputs(config: Mapping[str, Any], signature: Signature) -> None:
    required = sum(not entry.get("optional", False) for entry in config.get("input", ()))
    expected = required + len(_list_targets(config)) + len(list_controls(config))
    check_count(config["name"], expected, len(signature.inputs))


def check_count(model: str, expected: int, provided: int) -> None:
    """Compare the number of inputs in the configuration with the model's."""
    if expected != provided:
        raise RefusalError(
            f"unable to load model '{model}', configuration expects {expected} inputs, model provides {provided}"
        )


def find_tensor(name: str, kind: str, infos: Iterable[TensorInfo]) -> TensorInfo:
    """Return the input or output of that name; ``kind`` says which it is."""
    known = {info.name: info for info in infos}
    if name not in known:
        raise RefusalError(f"unexpected inference {kind} '{name}', allowed {kind}s are: {', '.join(sorted(known))}")
    return known[name]


def _check_type(config: Mapping[str, Any], entry: Mapping[str, Any], info: TensorInfo, kind: str) -> None:
    if entry["data_type"] != info.data_type:
        raise RefusalError(
            f"unable to load model '{config['name']}', configuration expects datatype {entry['data_type']} for {kind}"
            f" '{info.name}', model provides {info.data_type}"
        )


def _check_control(config: Mapping[str, Any], control: Mapping[str, Any], inputs: Iterable[TensorInfo]) -> None:
    info = {info.name: info for info in inputs}.get(control["name"])
    if info is None:
        raise RefusalError(
            f"configuration specified sequence control '{control['name']}', but model does not provide that input"
        )
    shape = info.shape[1:] if config.get("max_batch_size", 0) else info.shape
    if shape != (1,):
        raise RefusalError(
            f"unable to load model '{config['name']}', sequence control '{info.name}' in model has dims"
            f" {format_shape(shape)} but dims [1] is expected"
        )
    _check_type(config, control, info, "sequence control")


def _check_input_dims(config: Mapping[str, Any], entry: Mapping[str, Any], info: TensorInfo) -> None:
    optional, ragged = entry.get("optional", False), entry.get("allow_ragged_batch", False)
    if optional and config.get("max_batch_size", 0):
        raise RefusalError(
            f"unable to load model '{config['name']}', optional input '{info.name}' is not supported for models that"
            " support batching"
        )
    if not ragged:
        _check_dims(config, info, configured_shape(entry), exact=False)
    elif optional or info.shape != (FREE,):
        provides = "an optional input" if optional else format_shape(info.shape)
        raise RefusalError(
            f"unable to load model '{config['name']}', configuration expects model provides input with shape [-1] for"
            f" ragged input '{info.name}', model provides {provides}"
        )


def _check_dims(config: Mapping[str, Any], info: TensorInfo, dims: Sequence[int], *, exact: bool) -> None:
    """``exact``: a free dimension of the model must be free in the configuration too."""
    model = config["name"]
    batching = config.get("max_batch_size", 0) > 0
    if not info.shape and not batching:
        if any(dim != 1 for dim in dims):
            raise RefusalError(
                f"unable to load model '{model}', scalar tensor '{info.name}' should only provide 1 in the model"
                f" configuration when the model doesn't support batching. Model configuration provided:"
                f" {format_shape(dims)}"
            )
        return
    if batching and (not info.shape or info.shape[0] != FREE):
        raise RefusalError(
            f"model '{model}', tensor '{info.name}': for the model to support batching the shape should have at"
            f" least 1 dimension and the first dimension must be -1; but shape expected by the model is"
            f" {format_shape(info.shape)}"
        )
    full = [FREE, *dims] if batching else list(dims)
    fits = len(full) == len(info.shape) and all(
        expected == given or (expected == FREE and not exact) for expected, given in zip(info.shape, full, strict=True)
    )
    if not fits:
        raise refuse_dims(config, info, full)


def refuse_dims(config: Mapping[str, Any], info: TensorInfo, full: Sequence[int]) -> RefusalError:
    """Say that the dims of a configuration, with its batch dimension if it has one, are not the model's."""
    because = (
        " (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making"
        f" complete shape {format_shape(full)})"
        if config.get("max_batch_size", 0) > 0
        else f" (shape {format_shape(full)})"
    )
    return RefusalError(
        f"model '{config['name']}', tensor '{info.name}': the model expects {len(info.shape)} dimensions (shape"
        f" {format_shape(info.shape)}) but the model configuration specifies {len(full)} dimensions{because}"
    )
