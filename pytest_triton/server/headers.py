"""Headers for a running server, whose secrets come from the environment or a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pytest_triton.errors import OptionError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ELSEWHERE = re.compile(r"(?P<before>|.*\s)(?P<where>env|file):(?P<which>\S.*)", re.DOTALL)
_HINT = 'Write "NAME: VALUE"; a secret as env:NAME or file:PATH, as in "Authorization: Bearer env:TOKEN".'
_OURS = frozenset({"host", "content-length", "content-type", "inference-header-content-length", "connection"})


def header_name(line: str) -> str:
    """Return the name of ``NAME: VALUE``, all of it that may be shown. Raises ``OptionError``, without the value."""
    name, colon, _ = line.partition(":")
    name = name.strip()
    if not colon or not _NAME.fullmatch(name):
        raise OptionError("--triton-header: a header without a name", hint=_HINT)
    if name.lower() in _OURS or name.lower().endswith("-bin"):
        raise OptionError(f"--triton-header: {name} is no header to set", hint="Drop it.")
    return name


def read_headers(lines: Iterable[str], *, base: Path) -> dict[str, str]:
    """Return the headers that ``lines`` describe, ``NAME: VALUE`` each.

    A value that ends in ``env:NAME`` or ``file:PATH`` gets what the variable or the file holds; a relative path is
    taken from ``base``. Raises ``OptionError``, which never shows a value.
    """
    headers = {}
    for line in lines:
        name = header_name(line)
        value = line.partition(":")[2].strip()
        match = _ELSEWHERE.fullmatch(value)
        if match is not None:
            secret = _look_up(name, match["where"], match["which"], base)
            # A scheme without its token would be refused by the server in words that do not name the cause.
            value = match["before"] + secret if secret else ""
        if not value or not (value.isascii() and value.isprintable()):
            raise OptionError(
                f"--triton-header: the value of {name} cannot be sent",
                hint="It is empty, or holds a line break or what is not ASCII.",
            )
        headers[name] = value
    return headers


def _look_up(name: str, where: str, which: str, base: Path) -> str:
    if where == "env":
        if which not in os.environ:
            raise OptionError(
                f"--triton-header: {name} comes from the environment variable {which}, which is not set",
                hint=f"Set it: export {which}=...",
            )
        return os.environ[which].strip()
    path = base / Path(which).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise OptionError(
            f"--triton-header: {name} comes from the file {path}, which cannot be read: {reason}",
            hint="Name a file that holds the value alone.",
        ) from error
