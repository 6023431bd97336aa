"""Where each field of a text-format message stands in its text, comments and separators included.

Protobuf's own parser gives values and forgets positions. This one gives positions and leaves values to protobuf: it
reads a text that protobuf has accepted already, so it need not judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[\w.+-]+)
      | (?P<mark>[{}<>\[\]:;,/])""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}


class UnreadableSyntax(Exception):
    """The text uses syntax that has no place in a ``ModelConfig``, such as an extension's name."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters of the text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Element:
    """One value of a field: a scalar, or a message with its ``fields`` between ``inner.start`` and ``inner.end``."""

    span: Span
    inner: Span | None = None
    fields: tuple[FieldText, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldText:
    """One occurrence of a field: ``name: value``, ``name { ... }`` or ``name: [ ... ]``.

    ``span`` runs from the name to the end of the value, ``after`` is the end with the separator that may follow.
    ``brackets`` is what lies between the brackets of a list, None where the field is no list.
    """

    name: str
    span: Span
    after: int
    elements: tuple[Element, ...]
    brackets: Span | None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    span: Span


def locate(text: str) -> tuple[FieldText, ...]:
    """Find the fields of a text-format message, in the order of the text. Raises ``UnreadableSyntax``."""
    reader = _Reader(list(_tokens(text)))
    fields = reader.fields("")
    return fields


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnreadableSyntax(f"unexpected {text[position]!r} at {position}")
        if match.lastgroup != "blank":
            yield _Token(str(match.lastgroup), match[0], Span(match.start(), match.end()))
        position = match.end()
    yield _Token("end", "", Span(position, position))


class _Reader:
    """Walks over the tokens of one text, once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.position = 0

    def peek(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.tokens[self.position]
        self.position += 1
        return token

    def fields(self, closing: str) -> tuple[FieldText, ...]:
        found = []
        while self.peek().text != closing or self.peek().kind == "string":
            found.append(self.field())
        return tuple(found)

    def field(self) -> FieldText:
        name = self.take()
        if name.kind != "word":
            raise UnreadableSyntax(f"expected a field's name at {name.span.start}, found {name.text!r}")
        if self.peek().text == ":":
            self.take()
        brackets: Span | None = None
        elements: list[Element] = []
        if self.peek().text == "[":
            opening = self.take()
            while self.peek().text != "]":
                elements.append(self.element())
                if self.peek().text == ",":
                    self.take()
            closing = self.take()
            brackets, end = Span(opening.span.end, closing.span.start), closing.span.end
        else:
            elements.append(self.element())
            end = elements[-1].span.end
        after = self.take().span.end if self.peek().kind == "mark" and self.peek().text in (",", ";") else end
        return FieldText(name.text, Span(name.span.start, end), after, tuple(elements), brackets)

    def element(self) -> Element:
        token = self.take()
        if token.text in ("{", "<"):
            fields = self.fields(_CLOSING[token.text])
            closing = self.take()
            return Element(Span(token.span.start, closing.span.end), Span(token.span.end, closing.span.start), fields)
        if token.kind not in ("word", "string"):
            raise UnreadableSyntax(f"expected a value at {token.span.start}, found {token.text!r}")
        end = token.span.end
        # Adjacent strings are one.
        while token.kind == "string" and self.peek().kind == "string":
            end = self.take().span.end
        return Element(Span(token.span.start, end))
