"""Markdown as GitHub renders it: text that stays text, tables, code, and what unfolds on a click."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~#&$@]|^[-+=]|:(?=[\w+-]+:)")
"""Characters that are markup anywhere, those that are at the beginning of a line, and what begins an emoji."""
_NUMBERED = re.compile(r"^(\d+)([.)])")
_BACKTICKS = re.compile(r"`+")


def text(words: str) -> str:
    """Write words so that nothing in them is markup; on one line."""
    escaped = _SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(words.split()))
    return _NUMBERED.sub(r"\1\\\2", escaped)


def code(words: str) -> str:
    """Write words as code inside a line, or inside a table's cell, where a bar would end it."""
    words = " ".join(words.split()).replace("|", "\\|")
    ticks = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(words)), default=0))
    space = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{ticks}{space}{words}{space}{ticks}" if words else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lay out cells that are Markdown already; the first ``left`` columns are aligned left, the others right."""
    rule = [":--" if column < left else "--:" for column in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def fence(content: str, language: str = "") -> list[str]:
    """Write content as a block of code, whatever it holds."""
    ticks = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(content)), default=0))
    return [f"{ticks}{language}", *content.splitlines(), ticks]


def details(title: str, lines: Sequence[str]) -> list[str]:
    """Fold lines below a title, which is HTML. The empty lines make GitHub read them as Markdown again."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]
