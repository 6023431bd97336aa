"""Values as they are written on the command line: ``1,2,4``, ``1..8``, ``none,{}``, ``1ms,3ms``."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_triton.errors import UsageError
from pytest_triton.search.values import Powers, Range

_FROM_TO = re.compile(r"(-?\d+)\.\.(-?\d+)")
_CALL = re.compile(r"(Range|Powers)\((.*)\)", re.DOTALL)
_KINDS: Mapping[str, type[Range] | type[Powers]] = {"Range": Range, "Powers": Powers}
_WORDS = {"none": None, "null": None, "true": True, "false": False}
_OPEN, _CLOSE = "([{", ")]}"


def split_pair(option: str, text: str, example: str) -> tuple[str, str]:
    """Split ``NAME=VALUE``, what an ``option`` takes. Raises ``UsageError`` with an example."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise UsageError(f"{option} {text}: a name, =, and what it is are expected", hint=f"Write {option} {example}.")
    return name.strip(), value.strip()


def read_list(text: str) -> list[Any] | Range | Powers:
    """Read the values of an axis: JSON each, with commas between them, or all of them as one JSON list.

    ``1..8`` is a ``Range``, as ``Range(1, 8, 2)`` and ``Powers(1, 128)`` are what they say. Raises ``UsageError``.
    """
    if match := _FROM_TO.fullmatch(text.strip()):
        return Range(int(match[1]), int(match[2]))
    if match := _CALL.fullmatch(text.strip()):
        return _call(text, match)
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        return whole
    return [read_value(part) for part in _split(text)]


def read_value(text: str) -> Any:
    """Read one value as JSON has it; ``none`` is one, and what is no JSON is the text itself. Raises ``UsageError``."""
    text = text.strip()
    if not text:
        raise UsageError("there is nothing between two commas", hint="Write values as in 1,2,4.")
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError as error:
        if text[0] in '{["':
            raise UsageError(f"{text} is no JSON: {error}", hint='Write it as in {"name": "tensorrt"}.') from None
        return text


def _call(text: str, match: re.Match[str]) -> Range | Powers:
    try:
        arguments = ast.literal_eval(f"({match[2]},)")
    except (ValueError, SyntaxError):
        raise UsageError(f"{text} cannot be read", hint="Write Range(1, 8, 2), or Powers(1, 128).") from None
    try:
        return _KINDS[match[1]](*arguments)
    except TypeError:
        raise UsageError(f"{text}: two or three numbers are expected", hint="Write Powers(1, 128).") from None


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no brackets and no quotes."""
    parts, depth, quoted = [""], 0, False
    for place, character in enumerate(text):
        if character == '"' and not text[:place].endswith("\\"):
            quoted = not quoted
        elif not quoted:
            depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts
