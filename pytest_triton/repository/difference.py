"""What differs between two configurations, and between the one asked for and the one Triton applied."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.case import Value
from pytest_triton.repository.configuration import normalise
from pytest_triton.repository.fields import holds_text, is_map, is_repeated, map_value, resolve

# Removed fields that Triton's core sets again at every load (NormalizeModelConfig in its model_config_utils.cc).
_ALWAYS_FILLED = (
    "version_policy",
    "optimization",
    "optimization.input_pinned_memory",
    "optimization.output_pinned_memory",
)
# Values that Triton reads as "choose for me".
_CHOOSE = ("KIND_AUTO",)
# Elements that Triton may add to the ones declared.
_COMPLETED = ("input", "output")


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with two values. ``old`` and ``new`` are as JSON has them; None where the field is not set."""

    path: str
    old: Value
    new: Value

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def differences(old: ModelConfig, new: ModelConfig) -> list[Difference]:
    """List the fields in which two configurations differ, innermost first, in the order of the proto."""
    return list(_compare(old, new, "", asked=False))


def unapplied(asked: ModelConfig, applied: ModelConfig, patch: Mapping[str, Value] | None = None) -> list[Difference]:
    """List what Triton did not do as asked: ``old`` is the value asked for, ``new`` the one applied.

    Every field that is set in ``asked`` must have its value in ``applied``. Fields that were left open may be filled
    in, as Triton does: version policy, names and kinds of instance groups, the largest batch as the preferred one,
    inputs and outputs. ``patch`` (canonical) tells "removed" and "set to 0" from "left open": such a path must be so
    in ``applied`` too.
    """
    result = list(_compare(normalise(asked), normalise(applied), "", asked=True))
    for path, value in (patch or {}).items():
        steps = resolve(path)
        if value is None:
            if path in _ALWAYS_FILLED or (not steps[-1].field.has_presence and steps[-1].key is None):
                continue
        elif value not in (0, False, ""):
            continue
        applied_value = _look_up(applied, path)
        if applied_value != (value or None):
            result.append(Difference(path, value, applied_value))
    return result


def unified(old: str, new: str) -> str:
    """Return the unified diff of two texts of a config.pbtxt, without a final line end; empty for the same text."""
    names = ("a/config.pbtxt", "b/config.pbtxt")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    return "\n".join(lines)


def _compare(old: Any, new: Any, path: str, *, asked: bool) -> Iterator[Difference]:
    for field in old.DESCRIPTOR.fields:
        here = f"{path}.{field.name}" if path else field.name
        one, other = getattr(old, field.name), getattr(new, field.name)
        if is_map(field):
            yield from _compare_maps(field, one, other, here, asked=asked)
        elif is_repeated(field) and field.message_type is not None:
            if one or not asked:
                yield from _compare_lists(field, one, other, here, asked=asked)
        elif is_repeated(field):
            if list(one) != list(other) and (one or not asked):
                yield Difference(here, _plain(field, one), _plain(field, other))
        elif field.has_presence and old.HasField(field.name) != new.HasField(field.name):
            if old.HasField(field.name) or not asked:
                yield Difference(here, _value(old, field), _value(new, field))
        elif field.message_type is not None:
            yield from _compare(one, other, here, asked=asked)
        elif one != other and not (asked and _left_open(field, one)):
            yield Difference(here, _value(old, field), _value(new, field))


def _compare_maps(field: FieldDescriptor, old: Any, new: Any, path: str, *, asked: bool) -> Iterator[Difference]:
    inner = map_value(field)
    for key in sorted({*old, *(() if asked else new)}):
        here = f"{path}.{key}"
        one, other = _entry(inner, old, key), _entry(inner, new, key)
        if one != other:
            if asked and not holds_text(inner) and inner.message_type is not None and key in old and key in new:
                yield from _compare(old[key], new[key], here, asked=True)
            else:
                yield Difference(here, one, other)


def _compare_lists(field: FieldDescriptor, old: Any, new: Any, path: str, *, asked: bool) -> Iterator[Difference]:
    if asked and field.name in _COMPLETED:
        by_name = {element.name: element for element in new}
        pairs = [(element, by_name.get(element.name)) for element in old]
        names = [element.name for element in old]
    else:
        length = max(len(old), len(new))
        pairs = [(old[i] if i < len(old) else None, new[i] if i < len(new) else None) for i in range(length)]
        names = [str(index) for index in range(length)]
    for name, (one, other) in zip(names, pairs, strict=True):
        here = path if len(pairs) == 1 else f"{path}[{name}]"
        if one is None or other is None:
            yield Difference(here, _json(one), _json(other))
        else:
            yield from _compare(one, other, here, asked=asked)


def _left_open(field: FieldDescriptor, value: Any) -> bool:
    """Tell whether a scalar of what was asked leaves the choice to Triton."""
    return value == field.default_value or _plain(field, value) in _CHOOSE


def _look_up(config: ModelConfig, path: str) -> Value:
    """Return the value at a path, None where it is not set. Through a repeated field: the first element that has it."""
    places: list[Any] = [config]
    steps = resolve(path)
    for step in steps[:-1]:
        inner: list[Any] = []
        for message in places:
            held = getattr(message, step.field.name)
            if step.key is not None:
                inner += [held[step.key]] if step.key in held else []
            elif is_repeated(step.field):
                inner += held
            elif message.HasField(step.field.name):
                inner.append(held)
        places = inner
    last = steps[-1]
    for message in places:
        if last.key is not None:
            value = _entry(map_value(last.field), getattr(message, last.field.name), last.key)
        else:
            value = _value(message, last.field)
        if value not in (None, 0, False, "", [], {}):
            return value
        if last.field.has_presence and message.HasField(last.field.name):
            return value
    return None


def _entry(field: FieldDescriptor, entries: Any, key: Any) -> Value:
    if key not in entries:
        return None
    value = entries[key]
    if field.message_type is None:
        return value  # type: ignore[no-any-return]
    if holds_text(field):
        return value.string_value  # type: ignore[no-any-return]
    return _json(value)


def _value(message: Any, field: FieldDescriptor) -> Value:
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain(field, getattr(message, field.name))


def _plain(field: FieldDescriptor, value: Any) -> Value:
    if is_repeated(field):
        return [_json(inner) if field.message_type is not None else _scalar(field, inner) for inner in value]
    return _json(value) if field.message_type is not None else _scalar(field, value)


def _scalar(field: FieldDescriptor, value: Any) -> Value:
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return field.enum_type.values_by_number[value].name
    return value  # type: ignore[no-any-return]


def _json(message: Any) -> Value:
    if message is None:
        return None
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _shown(value: Value) -> str:
    return "not set" if value is None else str(value)
