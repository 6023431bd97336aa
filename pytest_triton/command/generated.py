"""A search as a test: the file that a user would write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_triton.search.values import Powers, Range

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class SearchTest:
    """What the test says. ``model`` is named only where the file does not lie in the model's folder.

    ``axes`` is None for the default space; ``settings`` are the other arguments of ``triton_search``.
    """

    title: str
    model: str | None
    axes: Mapping[str, Any] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    slo: Mapping[str, Any] = field(default_factory=dict)

    def write(self) -> str:
        """Return the text of the file."""
        used = sorted({type(values).__name__ for values in (self.axes or {}).values() if isinstance(values, _RANGES)})
        lines = [f'"""{self.title}"""', "", "import pytest"]
        lines += ["", f"from pytest_triton import {', '.join(used)}"] if used else []
        lines += ["", ""]
        if self.model is not None:
            lines += _mark("triton_model", [repr_of(self.model)])
        axes = [_mapping(self.axes)] if self.axes is not None else []
        lines += _mark("triton_search", [*axes, *_named(self.settings)])
        lines += _mark("triton_load", _named(self.load)) if self.load else []
        lines += _mark("triton_input", [f"shape={repr_of(dict(self.shapes))}"]) if self.shapes else []
        lines += _mark("triton_slo", _named(self.slo)) if self.slo else []
        lines += ["def test_best_configuration(triton_perf):", "    triton_perf()", ""]
        return "\n".join(lines)


_RANGES = (Range, Powers)


def repr_of(value: Any) -> str:
    """Write a value in Python, texts in double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{repr_of(name)}: {repr_of(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(repr_of, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(repr_of, value)) + ("," if len(value) == 1 else "") + ")"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _named(arguments: Mapping[str, Any]) -> list[str]:
    return [f"{name}={repr_of(value)}" for name, value in arguments.items()]


def _mapping(axes: Mapping[str, Any]) -> str:
    inner = [f"{repr_of(name)}: {repr_of(values)}" for name, values in axes.items()]
    short = "{" + ", ".join(inner) + "}"
    if len(inner) == 1 and len(short) < _WIDTH:
        return short
    return "\n".join(["{", *(f"    {line}," for line in inner), "}"])


def _mark(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the lines of a marker, each argument on a line of its own where they do not fit on one."""
    if not arguments:
        return [f"@pytest.mark.{name}"]
    short = f"@pytest.mark.{name}({', '.join(arguments)})"
    if "\n" not in short and len(short) <= _WIDTH:
        return [short]
    inner = [f"    {line}" for argument in arguments for line in f"{argument},".split("\n")]
    return [f"@pytest.mark.{name}(", *inner, ")"]
