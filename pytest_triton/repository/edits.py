"""Edits of a config.pbtxt's text: where fields and elements come in or go out, and what goes along with them.

New text takes the indentation of what stands beside it. What is removed takes along the separator after it and the
comment at the end of its own line, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_triton.repository.configuration import show
from pytest_triton.repository.syntax import Element, FieldText, Span

_INDENT = "  "
_LINE_REST = re.compile(r"[ \t]*(#[^\n]*?)?(?=\r?\n|\Z)")
_COMMA = re.compile(r"(?:\s|#[^\n]*\n)*,")


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``span`` of the original text by ``text``. An empty span inserts, an empty text removes."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """The part of a text that holds the fields of one message."""

    text: str
    span: Span
    fields: tuple[FieldText, ...]

    def inside(self, element: Element) -> Body:
        """Return the body of a message in this text."""
        assert element.inner is not None
        return Body(self.text, element.inner, element.fields)

    def named(self, name: str) -> list[FieldText]:
        """Return the occurrences of a field in this body."""
        return [field for field in self.fields if field.name == name]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits in the order of the text. Removals may overlap; what two of them remove is removed once."""
    newline = "\r\n" if "\r\n" in text else "\n"
    parts, position = [], 0
    for edit in sorted(edits, key=lambda edit: edit.span.start):
        parts += [text[position : edit.span.start], edit.text.replace("\n", newline)]
        position = max(position, edit.span.end)
    return "".join([*parts, text[position:]])


def add_fields(body: Body, holders: list[Any]) -> Edit:
    """Insert fields at the end of a body, each in a message that holds nothing else."""
    text, end = body.text, body.span.end
    if not body.fields and end < len(text):
        return _first_fields(body, holders)
    if end == len(text):
        start = "" if not text or text.endswith("\n") else "\n"
        return Edit(Span(end, end), start + "".join(in_lines(holder, "") + "\n" for holder in holders))
    return _after(text, body.fields[-1].after, end, indent_at(text, body.fields[-1].span.start), holders)


def _first_fields(body: Body, holders: list[Any]) -> Edit:
    """Insert fields into a message that has none: on its line, or below it where the message has lines of its own."""
    text, start = body.text, body.span.start
    rest = _LINE_REST.match(text, start)
    if rest is not None and rest.end() < body.span.end:
        indent = indent_at(text, start) + _INDENT
        return Edit(Span(rest.end(), rest.end()), "".join(f"\n{indent}{in_lines(h, indent)}" for h in holders))
    space = "" if text[start].isspace() else " "
    return Edit(Span(start, start), " " + " ".join(on_one_line(holder) for holder in holders) + space)


def _after(text: str, position: int, limit: int, indent: str, holders: list[Any]) -> Edit:
    """Insert fields after a position: on new lines where the line ends there, on the same line where it goes on."""
    rest = _LINE_REST.match(text, position)
    if rest is not None and rest.end() < limit:
        return Edit(Span(rest.end(), rest.end()), "".join(f"\n{indent}{in_lines(h, indent)}" for h in holders))
    return Edit(Span(position, position), " " + " ".join(on_one_line(holder) for holder in holders))


def add_elements(body: Body, last: FieldText, holders: list[Any]) -> Iterator[Edit]:
    """Insert elements of a repeated field after its last occurrence: into the list, if that is one."""
    text = body.text
    if last.brackets is None:
        rest = _LINE_REST.match(text, last.after)
        if rest is not None:
            indent = indent_at(text, last.span.start)
            lines = "".join(f"\n{indent}{in_lines(holder, indent)}" for holder in holders)
            yield Edit(Span(rest.end(), rest.end()), lines)
        else:
            yield Edit(Span(last.after, last.after), " " + " ".join(on_one_line(holder) for holder in holders))
        return
    if not last.elements:
        start = last.brackets.start
        space = "" if text[start].isspace() else " "
        yield Edit(Span(start, start), " " + ", ".join(without_name(on_one_line(holder)) for holder in holders) + space)
        return
    end = last.elements[-1].span.end
    rest = _LINE_REST.match(text, end)
    if rest is not None and rest.end() < last.brackets.end:
        indent = indent_at(text, last.elements[-1].span.start)
        yield Edit(Span(end, end), ",")
        lines = ",".join(f"\n{indent}{without_name(in_lines(holder, indent))}" for holder in holders)
        yield Edit(Span(rest.end(), rest.end()), lines)
    else:
        yield Edit(Span(end, end), "".join(f", {without_name(on_one_line(holder))}" for holder in holders))


def remove_elements(text: str, present: list[FieldText], gone: list[Element]) -> Iterator[Edit]:
    """Remove elements of a repeated field, and the field where none is left of it."""
    for occurrence in present:
        elements = occurrence.elements
        going = [element in gone for element in elements]
        if elements and all(going):
            yield remove_span(text, occurrence.span, occurrence.after)
            continue
        last_kept = max((index for index, goes in enumerate(going) if not goes), default=-1)
        for index, element in enumerate(elements):
            comma = _COMMA.match(text, element.span.end) if index < len(elements) - 1 else None
            if going[index]:
                yield remove_span(text, element.span, comma.end() if comma else element.span.end)
            elif index == last_kept and comma:
                yield Edit(Span(comma.end() - 1, comma.end()), "")


def remove_span(text: str, span: Span, after: int) -> Edit:
    """Remove a span with its separator; with its whole line, end comment included, when it stands there alone."""
    line_start = text.rfind("\n", 0, span.start) + 1
    rest = _LINE_REST.match(text, after)
    alone = not text[line_start : span.start].strip(" \t")
    if rest is not None and alone:
        newline = text.find("\n", rest.end())
        return Edit(Span(line_start, newline + 1 if newline >= 0 else len(text)), "")
    while after < len(text) and text[after] in " \t" and rest is None:
        after += 1
    start = span.start
    while rest is not None and start > line_start and text[start - 1] in " \t":
        start -= 1
    return Edit(Span(start, after), "")


def in_lines(message: Any, indent: str) -> str:
    """Write the fields of a message in lines, all but the first indented."""
    return show(message).rstrip("\n").replace("\n", f"\n{indent}")


def on_one_line(message: Any) -> str:
    """Write the fields of a message on one line."""
    return " ".join(line.strip() for line in show(message).splitlines())


def without_name(text: str) -> str:
    """Return an element of a repeated message without the field's name: as it stands in a list."""
    return text[text.index("{") :]


def indent_at(text: str, position: int) -> str:
    """Return the blanks that the line at ``position`` begins with."""
    line_start = text.rfind("\n", 0, position) + 1
    line = text[line_start:position]
    return line[: len(line) - len(line.lstrip(" \t"))]
