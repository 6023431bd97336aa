"""Putting a config.pbtxt into a repository: at once or not at all, the original kept beside it."""

from __future__ import annotations

from pathlib import Path

from pytest_triton.errors import RepositoryError
from pytest_triton.files import write_whole


def write(path: Path, text: str, *, keep_original: bool = True) -> Path | None:
    """Put ``text`` into the file at ``path`` at once or not at all, keeping what was there beside it.

    Returns where the original lies now (``config.pbtxt.orig``, ``config.pbtxt.orig.1``, ...); None when there was
    none or it was not to be kept, and when the file said ``text`` already. Raises ``RepositoryError`` when the folder
    cannot be written; then what was there is unchanged.
    """
    path = path.resolve()
    data = text.encode()
    try:
        before = path.read_bytes() if path.exists() else None
        if before == data:
            return None
        mode = 0o644 if before is None else path.stat().st_mode & 0o777
        kept = None
        if before is not None and keep_original:
            kept = _name_original(path, before)
            if not kept.exists():
                write_whole(kept, before, mode)
        write_whole(path, data, mode)
    except OSError as error:
        raise RepositoryError(
            f"{path} cannot be written: {error.strerror}",
            hint="What was there is unchanged. Make the folder writable, or make room on its disk.",
            model=path.parent.name,
        ) from error
    return kept


def _name_original(path: Path, content: bytes) -> Path:
    """Return the first name for the original that is free, or holds the same already."""
    number = 0
    while True:
        name = path.with_name(f"{path.name}.orig" + (f".{number}" if number else ""))
        if not name.exists() or name.read_bytes() == content:
            return name
        number += 1
