"""Where a store is: a file, or a database that a URL names. Light: options are read in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pytest_triton.errors import OptionError, nearest

NAME = "results.db"
"""The file of the store in the output folder, unless another place is named."""

_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_EXAMPLE = "name a file, or postgresql://user@host/database"


@dataclass(frozen=True, slots=True)
class Place:
    """A store's place: the ``url`` of a PostgreSQL database, or the ``path`` of an SQLite file.

    ``str()`` shows it without a password.
    """

    url: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        parts = urlsplit(self.url)
        who, _, host = parts.netloc.rpartition("@")
        user, colon, _ = who.partition(":")
        return f"postgresql://{user}{':***' if colon else ''}{'@' if who else ''}{host}{parts.path}"


def read_place(text: str, base: Path) -> Place:
    """Read ``URL|PATH``; a relative path is taken from ``base``. Raises ``OptionError``, which shows no password."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Place(path=(base / Path(text).expanduser()).absolute())
    if scheme == "sqlite":
        if not rest.startswith("/") or rest == "/":
            raise OptionError(f"{text} names no file: what it keeps would end with the process", hint=_EXAMPLE)
        return Place(path=(base / rest[1:]).absolute())
    if scheme not in _POSTGRESQL:
        known = nearest(scheme, ("sqlite", "postgresql"))
        raise OptionError(f"records cannot be stored in {scheme}://...: {known}", hint=_EXAMPLE)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise OptionError(
            f"{scheme}://... is no address of a database: {error}",
            hint="write @, : and / of a password as %40, %3A and %2F, or leave it to PGPASSWORD or ~/.pgpass",
        ) from None
    return Place(url=f"postgresql+psycopg://{rest}")
