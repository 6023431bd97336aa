"""What can be told of a Python model's code without running it."""

from __future__ import annotations

import re
from pathlib import Path

_OWN_CLASS = re.compile(rb"^class\s+TritonPythonModel\s*(\(\s*(object)?\s*\))?\s*:", re.MULTILINE)


def may_define(folder: Path, method: str) -> bool:
    """Say whether a Python model in ``folder`` may have ``method``.

    It has none where no Python file there names it, and each ``model.py`` has a class of its own that inherits from
    nothing: code from elsewhere may have anything, and so may code that cannot be read.
    """
    try:
        code = {file: file.read_bytes() for file in folder.rglob("*.py")}
    except OSError:
        return True
    return any(method.encode() in text for text in code.values()) or not all(
        _OWN_CLASS.search(text) for file, text in code.items() if file.name == "model.py"
    )
