"""A config.pbtxt rewritten so that only what changes is touched.

Comments, order, spacing, and either spelling of lists survive. A field that is removed takes along the comment at the
end of its own line, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import ConfigurationError
from pytest_triton.repository.configuration import parse, show, to_text
from pytest_triton.repository.fields import is_map, is_repeated, map_value, message_of
from pytest_triton.repository.syntax import Element, FieldText, Span, UnreadableSyntax, locate

_INDENT = "  "
_LINE_REST = re.compile(r"[ \t]*(#[^\n]*?)?(?=\r?\n|\Z)")
_COMMA = re.compile(r"(?:\s|#[^\n]*\n)*,")


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replace ``span`` of the original text by ``text``. An empty span inserts, an empty text removes."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class _Body:
    """The part of a text that holds the fields of one message."""

    text: str
    span: Span
    fields: tuple[FieldText, ...]

    def inside(self, element: Element) -> _Body:
        """Return the body of a message in this text."""
        assert element.inner is not None
        return _Body(self.text, element.inner, element.fields)

    def named(self, name: str) -> list[FieldText]:
        """Return the occurrences of a field in this body."""
        return [field for field in self.fields if field.name == name]


def rewrite(text: str, config: ModelConfig) -> str:
    """Return ``text`` changed so that it says ``config``; bytes of fields that stay the same stay the same.

    Raises ``ConfigurationError`` when ``text`` itself cannot be read.
    """
    old = parse(text)
    if old == config:
        return text
    try:
        body = _Body(text, Span(0, len(text)), locate(text))
    except UnreadableSyntax:
        return to_text(config)
    # Should the fine edits miss in a spelling that nobody thought of, whole fields are replaced, then everything.
    for whole in (False, True):
        result = _edited(text, _change(body, old, config, whole))
        if _says(result, config):
            return result
    return to_text(config)


def _says(text: str, config: ModelConfig) -> bool:
    try:
        return bool(parse(text) == config)
    except ConfigurationError:
        return False


def _edited(text: str, edits: Iterable[_Edit]) -> str:
    """Apply edits in the order of the text. Removals may overlap; what two of them remove is removed once."""
    newline = "\r\n" if "\r\n" in text else "\n"
    parts, position = [], 0
    for edit in sorted(edits, key=lambda edit: edit.span.start):
        parts += [text[position : edit.span.start], edit.text.replace("\n", newline)]
        position = max(position, edit.span.end)
    return "".join([*parts, text[position:]])


def _change(body: _Body, old: Any, new: Any, whole: bool) -> Iterator[_Edit]:
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
            yield _Edit(present[0].span, _block(_only(field, new), _indent(body.text, present[0].span.start)))
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
    yield from (_removal(body.text, field.span, field.after) for field in removed)
    if added:
        kept = tuple(field for field in body.fields if field not in removed)
        yield _addition(_Body(body.text, body.span, kept), added)


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


def _change_scalar(text: str, field: FieldDescriptor, place: FieldText, new: Any) -> _Edit:
    value = _scalar(field, new)
    if not is_repeated(field):
        return _Edit(place.elements[0].span, value)
    if place.brackets is None:
        return _Edit(place.span, f"{field.name}: {value}")
    padding = " " if text[place.brackets.start : place.brackets.end][:1].isspace() else ""
    return _Edit(place.brackets, padding + value[1:-1] + padding)


def _change_messages(
    body: _Body, field: FieldDescriptor, present: list[FieldText], old: Any, new: Any
) -> Iterator[_Edit]:
    """Yield the edits of a repeated message: element by element, then what is missing or too much at the end."""
    before, after = getattr(old, field.name), getattr(new, field.name)
    elements = [element for occurrence in present for element in occurrence.elements]
    for element, one, other in zip(elements, before, after, strict=False):
        if one != other:
            yield from _change(body.inside(element), one, other, False)
    yield from _removals(body.text, present, elements[len(after) :])
    if len(after) > len(before):
        fresh = []
        for message in after[len(before) :]:
            holder = new.__class__()
            getattr(holder, field.name).add().CopyFrom(message)
            fresh.append(holder)
        yield from _more_elements(body, present[-1], fresh)


def _change_map(body: _Body, field: FieldDescriptor, present: list[FieldText], old: Any, new: Any) -> Iterator[_Edit]:
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
        yield _Edit(element.span, _braces(_block(holder, _indent(body.text, element.span.start))))
    yield from _removals(body.text, present, gone[len(fresh) :])
    if len(fresh) > len(gone):
        yield from _more_elements(body, present[-1], fresh[len(gone) :])


def _key(text: str, field: FieldDescriptor, element: Element, parent: Any) -> Any:
    """Return the key of a map's entry in the text, in the type and escaping that protobuf reads."""
    alone = parent.__class__()
    text_format.Parse(f"{field.name} {text[element.span.start : element.span.end]}", alone)
    return next(iter(getattr(alone, field.name)))


def _addition(body: _Body, holders: list[Any]) -> _Edit:
    """Insert fields at the end of a body, each in a message that holds nothing else."""
    text, end = body.text, body.span.end
    if not body.fields and end < len(text):
        return _first_fields(body, holders)
    if end == len(text):
        start = "" if not text or text.endswith("\n") else "\n"
        return _Edit(Span(end, end), start + "".join(_block(holder, "") + "\n" for holder in holders))
    return _after(text, body.fields[-1].after, end, _indent(text, body.fields[-1].span.start), holders)


def _first_fields(body: _Body, holders: list[Any]) -> _Edit:
    """Insert fields into a message that has none: on its line, or below it where the message has lines of its own."""
    text, start = body.text, body.span.start
    rest = _LINE_REST.match(text, start)
    if rest is not None and rest.end() < body.span.end:
        indent = _indent(text, start) + _INDENT
        return _Edit(Span(rest.end(), rest.end()), "".join(f"\n{indent}{_block(h, indent)}" for h in holders))
    space = "" if text[start].isspace() else " "
    return _Edit(Span(start, start), " " + " ".join(_line(holder) for holder in holders) + space)


def _after(text: str, position: int, limit: int, indent: str, holders: list[Any]) -> _Edit:
    """Insert fields after a position: on new lines where the line ends there, on the same line where it goes on."""
    rest = _LINE_REST.match(text, position)
    if rest is not None and rest.end() < limit:
        return _Edit(Span(rest.end(), rest.end()), "".join(f"\n{indent}{_block(h, indent)}" for h in holders))
    return _Edit(Span(position, position), " " + " ".join(_line(holder) for holder in holders))


def _more_elements(body: _Body, last: FieldText, holders: list[Any]) -> Iterator[_Edit]:
    """Insert elements of a repeated field after its last occurrence: into the list, if that is one."""
    text = body.text
    if last.brackets is None:
        rest = _LINE_REST.match(text, last.after)
        if rest is not None:
            indent = _indent(text, last.span.start)
            lines = "".join(f"\n{indent}{_block(holder, indent)}" for holder in holders)
            yield _Edit(Span(rest.end(), rest.end()), lines)
        else:
            yield _Edit(Span(last.after, last.after), " " + " ".join(_line(holder) for holder in holders))
        return
    if not last.elements:
        start = last.brackets.start
        space = "" if text[start].isspace() else " "
        yield _Edit(Span(start, start), " " + ", ".join(_braces(_line(holder)) for holder in holders) + space)
        return
    end = last.elements[-1].span.end
    rest = _LINE_REST.match(text, end)
    if rest is not None and rest.end() < last.brackets.end:
        indent = _indent(text, last.elements[-1].span.start)
        yield _Edit(Span(end, end), ",")
        lines = ",".join(f"\n{indent}{_braces(_block(holder, indent))}" for holder in holders)
        yield _Edit(Span(rest.end(), rest.end()), lines)
    else:
        yield _Edit(Span(end, end), "".join(f", {_braces(_line(holder))}" for holder in holders))


def _removals(text: str, present: list[FieldText], gone: list[Element]) -> Iterator[_Edit]:
    """Remove elements of a repeated field, and the field where none is left of it."""
    for occurrence in present:
        elements = occurrence.elements
        going = [element in gone for element in elements]
        if elements and all(going):
            yield _removal(text, occurrence.span, occurrence.after)
            continue
        last_kept = max((index for index, goes in enumerate(going) if not goes), default=-1)
        for index, element in enumerate(elements):
            comma = _COMMA.match(text, element.span.end) if index < len(elements) - 1 else None
            if going[index]:
                yield _removal(text, element.span, comma.end() if comma else element.span.end)
            elif index == last_kept and comma:
                yield _Edit(Span(comma.end() - 1, comma.end()), "")


def _removal(text: str, span: Span, after: int) -> _Edit:
    """Remove a span with its separator; with its whole line, end comment included, when it stands there alone."""
    line_start = text.rfind("\n", 0, span.start) + 1
    rest = _LINE_REST.match(text, after)
    alone = not text[line_start : span.start].strip(" \t")
    if rest is not None and alone:
        newline = text.find("\n", rest.end())
        return _Edit(Span(line_start, newline + 1 if newline >= 0 else len(text)), "")
    while after < len(text) and text[after] in " \t" and rest is None:
        after += 1
    start = span.start
    while rest is not None and start > line_start and text[start - 1] in " \t":
        start -= 1
    return _Edit(Span(start, after), "")


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


def _block(message: Any, indent: str) -> str:
    """Write the fields of a message in lines, all but the first indented."""
    return show(message).rstrip("\n").replace("\n", f"\n{indent}")


def _line(message: Any) -> str:
    """Write the fields of a message on one line."""
    return " ".join(line.strip() for line in show(message).splitlines())


def _braces(text: str) -> str:
    """Return an element of a repeated message without the field's name: as it stands in a list."""
    return text[text.index("{") :]


def _indent(text: str, position: int) -> str:
    """Return the blanks that the line at ``position`` begins with."""
    line_start = text.rfind("\n", 0, position) + 1
    line = text[line_start:position]
    return line[: len(line) - len(line.lstrip(" \t"))]
