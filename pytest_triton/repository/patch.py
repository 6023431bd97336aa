"""A configuration patch applied to a ``ModelConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.case import Value
from pytest_triton.errors import AxisError
from pytest_triton.repository.fields import (
    Step,
    canonical_path,
    canonical_value,
    holds_text,
    is_map,
    is_repeated,
    map_value,
    message_of,
    parse_map_key,
    resolve,
)

# Elements that mean nothing without a name of the model's own, so a patch cannot make one up.
_NAMED_BY_MODEL = ("ModelInput", "ModelOutput", "Step", "BatchInput", "BatchOutput")


def canonical(patch: Mapping[str, object]) -> dict[str, Value]:
    """Return a patch with paths and values as the proto has them. Raises ``AxisError``."""
    result: dict[str, Value] = {}
    for name, value in patch.items():
        path = canonical_path(name)
        if path in result:
            raise AxisError(f"{path} is patched twice, the second time as {name!r}", hint="Name it once.")
        result[path] = canonical_value(path, value)
    return result


def apply(config: ModelConfig, patch: Mapping[str, object]) -> ModelConfig:
    """Return a copy of ``config`` with every path of ``patch`` set to its value, and removed where that is None.

    A path through a repeated field applies to each of its elements; where there is none, one is made. A path inside a
    field that the patch sets as a whole refines it. Raises ``AxisError`` for a path or value that the proto refuses,
    for fields that exclude each other, and for a path inside a field that the same patch removes.
    """
    changes = canonical(patch)
    result = ModelConfig()
    result.CopyFrom(config)
    for path in changes:
        for above in _above(path):
            if above in changes and changes[above] is None:
                raise AxisError(f"{path} is set inside {above}, which the same patch removes", hint="Drop one of them.")
    # What is removed goes first, to make room in a oneof; then the outer before the inner.
    for path, value in sorted(changes.items(), key=lambda item: (item[1] is not None, item[0].count("."))):
        if value is None:
            _remove(result, resolve(path))
        else:
            _set(path, result, resolve(path), value)
    return result


def problem(config: ModelConfig) -> str | None:
    """Say why Triton would refuse this configuration whatever the model is, or None.

    Covers combinations of fields that Triton's core validates at load; the backend may refuse more.
    """
    largest = config.max_batch_size
    if largest < 0:
        return f"max_batch_size is {largest}; Triton takes 0 (no batching) or more"
    for name, sizes in (
        ("dynamic_batching", config.dynamic_batching.preferred_batch_size),
        ("sequence_batching.oldest", config.sequence_batching.oldest.preferred_batch_size),
    ):
        for size in sizes:
            if size <= 0:
                return f"{name}.preferred_batch_size holds {size}; a batch has at least one request"
            if size > largest:
                return f"{name}.preferred_batch_size holds {size}, more than max_batch_size {largest}"
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        return f"dynamic_batching.default_priority_level is {batching.default_priority_level}, not in 1 to {levels}"
    for level in batching.priority_queue_policy:
        if levels and not 1 <= level <= levels:
            return f"dynamic_batching.priority_queue_policy is for level {level}, not in 1 to {levels}"
    if batching.preserve_ordering and levels > 1:
        return f"dynamic_batching.preserve_ordering goes with one priority level, not with {levels}"
    if config.response_cache.enable and config.HasField("sequence_batching"):
        return "response_cache does not work with sequence_batching"
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        return "response_cache does not work with a decoupled model_transaction_policy"
    for group in config.instance_group:
        kind = type(group).Kind.Name(group.kind)
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            return f"instance_group has gpus {list(group.gpus)} beside {kind}, which takes none"
    if not 0 <= config.sequence_batching.direct.minimum_slot_utilization <= 1:
        return "sequence_batching.direct.minimum_slot_utilization is not in 0 to 1"
    if config.HasField("ensemble_scheduling") and config.instance_group:
        return "an ensemble has no instances of its own: instance_group belongs to the models that it is made of"
    return None


def _above(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _remove(message: Any, steps: tuple[Step, ...]) -> None:
    """Clear the field that ``steps`` lead to, wherever it exists; make nothing on the way."""
    step, rest = steps[0], steps[1:]
    if step.key is not None:
        entries, key = getattr(message, step.field.name), parse_map_key(step.field, step.key)
        if key not in entries:
            return
        if rest:
            _remove(entries[key], rest)
        else:
            del entries[key]
    elif not rest:
        message.ClearField(step.field.name)
    elif is_repeated(step.field):
        for element in getattr(message, step.field.name):
            _remove(element, rest)
    elif message.HasField(step.field.name):
        _remove(getattr(message, step.field.name), rest)


def _set(path: str, message: Any, steps: tuple[Step, ...], value: Value) -> None:
    step, rest = steps[0], steps[1:]
    field = step.field
    _check_oneof(path, message, field)
    if step.key is not None:
        entries, key = getattr(message, field.name), parse_map_key(field, step.key)
        if rest:
            _set(path, entries[key], rest, value)
        else:
            _put_entry(entries, key, field, value)
    elif not rest:
        _assign(message, field, value)
    elif is_repeated(field):
        elements = getattr(message, field.name)
        if not elements:
            if message_of(field).name in _NAMED_BY_MODEL:
                raise AxisError(
                    f"{path}: the configuration declares no {field.name}",
                    hint=f"Declare the model's {field.name} in its config.pbtxt first.",
                )
            elements.add()
        for element in elements:
            _set(path, element, rest, value)
    else:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _set(path, inner, rest, value)


def _assign(message: Any, field: FieldDescriptor, value: Value) -> None:
    """Replace a whole field by a canonical value."""
    message.ClearField(field.name)
    if is_map(field):
        assert isinstance(value, dict)
        for key, inner in value.items():
            _put_entry(getattr(message, field.name), parse_map_key(field, key), field, inner)
    elif is_repeated(field):
        assert isinstance(value, list)
        elements = getattr(message, field.name)
        for inner in value:
            if field.message_type is not None:
                _fill(elements.add(), inner)
            else:
                elements.append(_plain(field, inner))
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), value)
    else:
        setattr(message, field.name, _plain(field, value))


def _put_entry(entries: Any, key: str | int, field: FieldDescriptor, value: Value) -> None:
    inner = map_value(field)
    if inner.message_type is None:
        entries[key] = _plain(inner, value)
    elif holds_text(inner):
        entries[key].string_value = value
    else:
        entries[key].Clear()
        _fill(entries[key], value)


def _fill(message: Any, value: Value) -> None:
    assert isinstance(value, dict)
    for name, inner in value.items():
        _check_oneof(name, message, message.DESCRIPTOR.fields_by_name[name])
        _assign(message, message.DESCRIPTOR.fields_by_name[name], inner)


def _plain(field: FieldDescriptor, value: Value) -> Any:
    return field.enum_type.values_by_name[value].number if field.enum_type is not None else value  # type: ignore[index]


def _check_oneof(path: str, message: Any, field: FieldDescriptor) -> None:
    """Refuse to set a field that would silently drop another: a model has one scheduler."""
    if field.containing_oneof is None:
        return
    present = message.WhichOneof(field.containing_oneof.name)
    if present is not None and present != field.name:
        raise AxisError(
            f"{path}: {field.name} cannot stand beside {present}, which the configuration has",
            hint=f"Remove {present} in the same patch: set it to None.",
        )
