"""The fields of ``ModelConfig`` by their paths: which there are, and which values each takes.

A path is spelled as in the proto: ``instance_group.count``, ``dynamic_batching``. Through a map it goes by the key:
``parameters.intra_op_thread_count``. Everything is checked against the proto's descriptors alone, so that a search
is refused at collection, with no model and no server at hand.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.case import Value
from pytest_triton.errors import AxisError, QuantityError, nearest
from pytest_triton.quantities import Unit, parse

ALIASES = {
    "instance_count": "instance_group.count",
    "instance_kind": "instance_group.kind",
    "instance_gpus": "instance_group.gpus",
    "max_queue_delay": "dynamic_batching.max_queue_delay_microseconds",
    "preferred_batch_size": "dynamic_batching.preferred_batch_size",
    "preserve_ordering": "dynamic_batching.preserve_ordering",
    "graph_level": "optimization.graph.level",
    "cuda_graphs": "optimization.cuda.graphs",
    "eager_batching": "optimization.eager_batching",
    "gpu_execution_accelerator": "optimization.execution_accelerators.gpu_execution_accelerator",
    "cpu_execution_accelerator": "optimization.execution_accelerators.cpu_execution_accelerator",
    "intra_op_thread_count": "parameters.intra_op_thread_count",
    "inter_op_thread_count": "parameters.inter_op_thread_count",
    "execution_mode": "parameters.execution_mode",
    "enable_mem_arena": "parameters.enable_mem_arena",
    "enable_mem_pattern": "parameters.enable_mem_pattern",
}
"""Short names for the usual paths."""

# What the proto's types allow and Triton then refuses, or takes for "not set".
_LEAST = {
    "max_batch_size": 0,
    "instance_group.count": 1,
    "dynamic_batching.preferred_batch_size": 1,
    "sequence_batching.oldest.preferred_batch_size": 1,
}
_MICROSECONDS = "_microseconds"
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One component of a path: a field of a message, and the key where the field is a map that the path enters."""

    field: FieldDescriptor
    key: str | None = None


def resolve(path: str) -> tuple[Step, ...]:
    """Take a path (or alias) apart. Raises ``AxisError`` with the nearest valid path when there is no such field."""
    rest = ALIASES.get(path, path)
    message: Descriptor | None = ModelConfig.DESCRIPTOR
    steps: list[Step] = []
    while rest:
        name, dot, rest = rest.partition(".")
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None or (dot and not rest):
            raise _unknown(path)
        if not is_map(field):
            steps.append(Step(field))
            message = field.message_type
            continue
        value = map_value(field)
        if rest and holds_text(value):
            # A key may have dots of its own: parameters.memory.enable_memory_arena_shrinkage
            key, rest = rest, ""
        else:
            key, _, rest = rest.partition(".")
        steps.append(Step(field, key or None))
        if key:
            _map_key(path, field, key)
        message = value.message_type if key else None
    if not steps:
        raise _unknown(path)
    return tuple(steps)


def canonical_path(path: str) -> str:
    """Return the path as the proto spells it, whether given so or by its alias. Raises ``AxisError``."""
    resolve(path)
    return ALIASES.get(path, path)


def canonical_value(path: str, value: object) -> Value:
    """Return ``value`` as a patch keeps it: plain JSON, in the field's own type and unit.

    ``None`` (remove the field) is a value of every field. A field in microseconds takes a duration (``"100us"``), a
    model parameter takes numbers and booleans too and keeps them as text (``2`` -> ``"2"``, ``True`` -> ``"true"``, as
    Triton's backends read them). Raises ``AxisError`` naming the path, the value, and what is allowed.
    """
    if value is None:
        resolve(path)
        return None
    last = resolve(path)[-1]
    name = ALIASES.get(path, path)
    if last.key is not None:
        return _single(name, map_value(last.field), value)
    return _whole(name, last.field, value)


def is_repeated(field: FieldDescriptor) -> bool:
    """Tell whether a field is repeated. Maps are."""
    # Descriptors of protobuf before 6.31 know this only as their label, which later ones deprecate.
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)  # type: ignore[attr-defined]


def message_of(field: FieldDescriptor) -> Descriptor:
    """Return the message type of a field that holds messages."""
    assert field.message_type is not None
    return field.message_type


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether a field is a map: repeated entries of a key and a value."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """Return the field that holds a map's values."""
    return message_of(field).fields_by_name["value"]


def holds_text(field: FieldDescriptor) -> bool:
    """Tell whether a map's value is a text: a string, or a ``ModelParameter``, which wraps one."""
    if field.message_type is not None:
        return [inner.name for inner in field.message_type.fields] == ["string_value"]
    return bool(field.type == FieldDescriptor.TYPE_STRING)


def parse_map_key(field: FieldDescriptor, key: str) -> str | int:
    """Convert a path's component to the key type of the map ``field``. Raises ``ValueError``."""
    if message_of(field).fields_by_name["key"].type == FieldDescriptor.TYPE_STRING:
        return key
    return int(key)


def _map_key(path: str, field: FieldDescriptor, key: str) -> None:
    try:
        parse_map_key(field, key)
    except ValueError:
        raise AxisError(f"{path}: {key!r} is no key of {field.name}: its keys are whole numbers") from None


def _whole(path: str, field: FieldDescriptor, value: object) -> Value:
    if is_map(field):
        if not isinstance(value, Mapping):
            raise _refused(path, value, "a mapping from key to value")
        for key in value:
            _map_key(path, field, str(key))
        return {str(key): _single(f"{path}.{key}", map_value(field), inner) for key, inner in value.items()}
    if not is_repeated(field):
        return _single(path, field, value)
    if isinstance(value, str | Mapping) or not isinstance(value, list | tuple):
        raise _refused(path, value, f"a list; write [{value!r}]")
    return [_single(path, field, inner) for inner in value]


def _single(path: str, field: FieldDescriptor, value: object) -> Value:
    if field.message_type is not None:
        return _message(path, field.message_type, value)
    if field.enum_type is not None:
        return _enum(path, field.enum_type, value)
    if field.cpp_type in _INTEGERS:
        return _integer(path, field, value)
    if field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise _refused(path, value, "True or False")
        return value
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(path, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(path, value, "a number")
    return float(value)


def _message(path: str, message: Descriptor, value: object) -> Value:
    if message.full_name == "inference.ModelParameter":
        if isinstance(value, Mapping) and list(value) == ["string_value"]:
            value = value["string_value"]
        return _text(path, value)
    if not isinstance(value, Mapping):
        fields = ", ".join(field.name for field in message.fields)
        raise _refused(path, value, f"a mapping with fields of {message.name} ({fields}), or None to remove it")
    result: dict[str, Value] = {}
    for name, inner in value.items():
        field = message.fields_by_name.get(name)
        if field is None:
            raise AxisError(f"{path}: {message.name} has no field {name!r}", hint=nearest(name, message.fields_by_name))
        if inner is not None:
            result[name] = _whole(f"{path}.{name}", field, inner)
    return result


def _enum(path: str, enum: EnumDescriptor, value: object) -> str:
    if isinstance(value, str) and value in enum.values_by_name:
        return value
    error = _refused(path, value, "one of " + ", ".join(enum.values_by_name))
    if isinstance(value, str) and difflib.get_close_matches(value, enum.values_by_name):
        error.hint = nearest(value, enum.values_by_name)
    raise error


def _integer(path: str, field: FieldDescriptor, value: object) -> int:
    least, most = _INTEGERS[field.cpp_type]
    least = max(least, _LEAST.get(path, least))
    if path.endswith(_MICROSECONDS) and isinstance(value, str):
        try:
            microseconds = parse(value, Unit.SECONDS) * 1e6
        except QuantityError as error:
            raise AxisError(f"{path}: {error.problem}", hint="Write a duration, as in '100us'.") from None
        if abs(microseconds - round(microseconds)) > 1e-6 * max(1.0, microseconds):
            raise _refused(path, value, "whole microseconds")
        value = round(microseconds)
    if isinstance(value, bool) or not isinstance(value, int):
        unit = " of microseconds, or a duration such as '100us'" if path.endswith(_MICROSECONDS) else ""
        raise _refused(path, value, f"a whole number{unit}")
    if not least <= value <= most:
        raise _refused(path, value, f"a whole number from {least} to {most}")
    return value


def _text(path: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise _refused(path, value, "a text, a number, True or False")
    return value


def _refused(path: str, value: object, allowed: str) -> AxisError:
    return AxisError(f"{path}: {value!r} is refused", hint=f"The field {path} takes {allowed}.")


def _unknown(path: str) -> AxisError:
    close = difflib.get_close_matches(path, [*_paths(), *ALIASES], n=1, cutoff=0.7)
    # The right name in the wrong place: "count", "batching.max_queue_delay_microseconds"
    last = path.rpartition(".")[2]
    close = close or [known for known in _paths() if known.rpartition(".")[2] == last][:3]
    if close:
        hint = "did you mean " + " or ".join(repr(name) for name in close) + "?"
    else:
        names = [field.name for field in ModelConfig.DESCRIPTOR.fields]
        hint = f"A path begins with a field of ModelConfig: {', '.join(names)}; aliases: {', '.join(sorted(ALIASES))}."
    return AxisError(f"ModelConfig has no field {path!r}", hint=hint)


@functools.cache
def _paths() -> tuple[str, ...]:
    return tuple(_walk(ModelConfig.DESCRIPTOR, ""))


def _walk(message: Descriptor, prefix: str) -> Iterator[str]:
    for field in message.fields:
        yield prefix + field.name
        if field.message_type is not None and not is_map(field):
            yield from _walk(field.message_type, f"{prefix}{field.name}.")
