"""A config.pbtxt rewritten so that only what changes is touched.

Comments, order, spacing, and either spelling of lists survive. A field that is removed takes along the comment at the
end of its own line, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import ConfigurationError
from pytest_triton.repository.configuration import parse, to_text
from pytest_triton.repository.edits import (
    Body,
    Edit,
    add_elements,
    add_fields,
    apply_edits,
    in_lines,
    indent_at,
    remove_elements,
    remove_span,
    without_name,
)
from pytest_triton.repository.fields import is_map, is_repeated, map_value, message_of
from pytest_triton.repository.syntax import Element, FieldText, Span, UnreadableSyntax, locate


def rewrite(text: str, config: ModelConfig) -> str:
    """Return ``text`` changed so that it says ``config``; bytes of fields that stay the same stay the same.

    Raises ``ConfigurationError`` when ``text`` itself cannot be read.
    """
    old = parse(text)
    if old == config:
        return text
    try:
        body = Body(text, Span(0, len(text)), locate(text))
    except UnreadableSyntax:
        return to_text(config)
    # Should the fine edits miss in a spelling that nobody thought of, whole fields are replaced, then everything.
    for whole in (False, True):
        result = apply_edits(text, _change(body, old, config, whole))
        if _says(result, config):
            return result
    return to_text(config)


def _says(text: str, config: ModelConfig) -> bool:
    try:
        return bool(parse(text) == config)
    except ConfigurationError:
        return False


def _change(body: Body, old: Any, new: Any, whole: bool) -> Iterator[Edit]:
    """Yield the edits that turn the fields of one message from ``old`` to ``new``; ``whole`` replaces whole fields."""
    added, removed = [], []
    for field in new.DESCRIPTOR.fields:
        if _same(field, old, new):
            continue
        present = body.named(field.name)
        if not present:
            added.append(_only(field, new))
        elif _is_gone(field, new):
            removed += present
        elif whole:
            yield Edit(present[0].span, in_lines(_only(field, new), indent_at(body.text, present[0].span.start)))
            removed += present[1:]
        elif is_map(field):
            yield from _change_map(body, field, present, old, new)
        elif field.message_type is None:
            yield _change_scalar(body.text, field, present[0], new)
            removed += present[1:]
        elif is_repeated(field):
            yield from _change_messages(body, field, present, old, new)
        else:
            inner = body.inside(present[0].elements[0])
            yield from _change(inner, getattr(old, field.name), getattr(new, field.name), whole)
    yield from (remove_span(body.text, field.span, field.after) for field in removed)
    if added:
        kept = tuple(field for field in body.fields if field not in removed)
        yield add_fields(Body(body.text, body.span, kept), added)


def _same(field: FieldDescriptor, old: Any, new: Any) -> bool:
    if field.has_presence and old.HasField(field.name) != new.HasField(field.name):
        return False
    one, other = getattr(old, field.name), getattr(new, field.name)
    if is_map(field):
        return dict(one) == dict(other)
    return bool(list(one) == list(other) if is_repeated(field) else one == other)


def _is_gone(field: FieldDescriptor, new: Any) -> bool:
    """Tell whether a field leaves the text. Numbers become an explicit 0: whoever wrote them will look for them."""
    if field.has_presence:
        return not new.HasField(field.name)
    if is_repeated(field):
        return not getattr(new, field.name)
    return field.type == FieldDescriptor.TYPE_STRING and not getattr(new, field.name)


def _change_scalar(text: str, field: FieldDescriptor, place: FieldText, new: Any) -> Edit:
    value = _scalar(field, new)
    if not is_repeated(field):
        return Edit(place.elements[0].span, value)
    if place.brackets is None:
        return Edit(place.span, f"{field.name}: {value}")
    padding = " " if text[place.brackets.start : place.brackets.end][:1].isspace() else ""
    return Edit(place.brackets, padding + value[1:-1] + padding)


def _change_messages(
    body: Body, field: FieldDescriptor, present: list[FieldText], old: Any, new: Any
) -> Iterator[Edit]:
    """Yield the edits of a repeated message: element by element, then what is missing or too much at the end."""
    before, after = getattr(old, field.name), getattr(new, field.name)
    elements = [element for occurrence in present for element in occurrence.elements]
    for element, one, other in zip(elements, before, after, strict=False):
        if one != other:
            yield from _change(body.inside(element), one, other, False)
    yield from remove_elements(body.text, present, elements[len(after) :])
    if len(after) > len(before):
        fresh = []
        for message in after[len(before) :]:
            holder = new.__class__()
            getattr(holder, field.name).add().CopyFrom(message)
            fresh.append(holder)
        yield from add_elements(body, present[-1], fresh)


def _change_map(body: Body, field: FieldDescriptor, present: list[FieldText], old: Any, new: Any) -> Iterator[Edit]:
    """Yield the edits of a map by key. Where a key stands twice the last entry counts; the others stay as they are."""
    before, after = getattr(old, field.name), getattr(new, field.name)
    entry = message_factory.GetMessageClass(message_of(field))
    places: dict[Any, list[Element]] = {}
    for occurrence in present:
        for element in occurrence.elements:
            places.setdefault(_key(body.text, field, element, new), []).append(element)
    for key, elements in places.items():
        if key in after and before[key] != after[key]:
            one, other = entry(key=key, value=before[key]), entry(key=key, value=after[key])
            yield from _change(body.inside(elements[-1]), one, other, False)
    gone = [element for key, elements in places.items() if key not in after for element in elements]
    fresh = []
    for key in after:
        if key not in before:
            holder = new.__class__()
            if map_value(field).message_type is not None:
                getattr(holder, field.name)[key].CopyFrom(after[key])
            else:
                getattr(holder, field.name)[key] = after[key]
            fresh.append(holder)
    # An entry that goes makes place for one that comes.
    for element, holder in zip(gone, fresh, strict=False):
        yield Edit(element.span, without_name(in_lines(holder, indent_at(body.text, element.span.start))))
    yield from remove_elements(body.text, present, gone[len(fresh) :])
    if len(fresh) > len(gone):
        yield from add_elements(body, present[-1], fresh[len(gone) :])


def _key(text: str, field: FieldDescriptor, element: Element, parent: Any) -> Any:
    """Return the key of a map's entry in the text, in the type and escaping that protobuf reads."""
    alone = parent.__class__()
    text_format.Parse(f"{field.name} {text[element.span.start : element.span.end]}", alone)
    return next(iter(getattr(alone, field.name)))


def _only(field: FieldDescriptor, message: Any) -> Any:
    """Return a copy of a message with no field but one."""
    copy = message.__class__()
    copy.CopyFrom(message)
    for other in message.DESCRIPTOR.fields:
        if other.name != field.name:
            copy.ClearField(other.name)
    return copy


def _scalar(field: FieldDescriptor, message: Any) -> str:
    """Write the value of a scalar field, default or not: ``4``, ``KIND_CPU``, ``"text"``, ``[4, 8]``."""
    value = getattr(message, field.name)
    if not is_repeated(field):
        return _one_scalar(field, value)
    return "[" + ", ".join(_one_scalar(field, inner) for inner in value) + "]"


def _one_scalar(field: FieldDescriptor, value: Any) -> str:
    out = text_format.TextWriter(as_utf8=True)
    text_format.PrintFieldValue(field, value, out, as_utf8=True)
    return str(out.getvalue())
