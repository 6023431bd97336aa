"""Whether the engine sees our files: where pytest runs in a container itself, or the engine elsewhere, it does not."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path, PurePosixPath

from pytest_triton.server.docker.engine import Engine, asking

_DEEP = 3
"""How far below the repository a file of a version lies."""
_NEAR = 1e-5
"""Seconds. The engine's time of a file is text, of which Python reads the microseconds."""


def is_same_folder(engine: Engine, container: str, inside: PurePosixPath, folder: Path) -> bool:
    """Tell whether ``inside`` of ``container`` is our ``folder``, by the file that was changed last.

    A path that exists on both sides may be two folders.
    """
    from docker.errors import NotFound

    newest = _newest(folder)
    if newest is None:
        return True
    with asking(engine, "look into the container"):
        try:
            stream, found = engine.client.api.get_archive(
                container, str(inside / newest.relative_to(folder).as_posix())
            )
        except NotFound:
            return False
        # It would go on with the whole file.
        stream.close()
    status = newest.stat()
    return (
        int(found["size"]) == status.st_size
        and abs(datetime.fromisoformat(str(found["mtime"])).timestamp() - status.st_mtime) < _NEAR
    )


def _newest(folder: Path) -> Path | None:
    """Return the file below ``folder`` that was changed last, links left out; None where there is no file."""
    files = [
        file
        for deep in range(1, _DEEP + 1)
        for file in folder.glob("/".join(["*"] * deep))
        if file.is_file() and not file.is_symlink()
    ]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
