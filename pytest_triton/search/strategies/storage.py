"""Where a study of Optuna's is kept: a file of SQLite's, a database, or a journal."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_triton.errors import OptionError

_DRIVER = "postgresql+psycopg://"
_FILES = (".db", ".sqlite", ".sqlite3")
_JOURNALS = (".log", ".journal")
_HINT = "Write a URL as in sqlite:///study.db or postgresql://user@host/name, or a path ending in .journal."


def place_of(storage: str, base: Path) -> str:
    """Return a URL as it is, and a path as it begins in ``base``."""
    return storage if "://" in storage else str(base / storage)


def check_storage(place: str) -> None:
    """Look whether a study can be kept there, as far as that is seen without asking a server.

    Raises ``OptionError`` for what is no URL or path of a study, for a database without its driver, and for a file that
    cannot be written.
    """
    if "://" in place:
        _check_url(place)
        return
    path = Path(place)
    if path.suffix not in (*_FILES, *_JOURNALS):
        raise OptionError(f"storage={place!r} is no place for a study", hint=_HINT)
    # Folders that are missing are made.
    _check_file(place, path, next(folder for folder in path.absolute().parents if folder.exists()))


def _check_url(place: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    shown, scheme = hide_password(place), place.partition("://")[0]
    try:
        url = make_url(_with_driver(place))
        dialect = url.get_dialect()
    except NoSuchModuleError:
        raise OptionError(f"storage={shown!r}: there is no database called {scheme!r}", hint=_HINT) from None
    except (ArgumentError, ValueError):
        raise OptionError(f"storage={shown!r} is no URL of a database", hint=_HINT) from None
    try:
        dialect.import_dbapi()
    except ImportError as error:
        raise OptionError(
            f"storage={shown!r}: the driver of {scheme} is not installed ({error})",
            hint="Install the package that brings this module, or write a sqlite:///, a postgresql:// or a journal.",
        ) from None
    if dialect.name == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(url.database).absolute()
        _check_file(place, path, path.parent)


def _check_file(place: str, path: Path, folder: Path) -> None:
    """Raise ``OptionError`` unless the file at ``path`` can be written, or made in ``folder``."""
    if path.is_dir():
        raise OptionError(f"storage={place!r}: {path} is a folder", hint="Name a file in it.")
    if not folder.is_dir():
        raise OptionError(f"storage={place!r}: there is no folder {folder}", hint="Make it, or name another place.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OptionError(f"storage={place!r}: {path} cannot be written", hint="Name another place.")


def check_installed() -> None:
    """Raise ``OptionError`` where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise OptionError(
            "strategy='optuna' needs Optuna, which is not installed", hint="pip install 'pytest-triton[optuna]'"
        )


def open_storage(place: str | None) -> Any:
    """Open a storage: a URL of SQLite or PostgreSQL, or the path of a journal (``.log``, ``.journal``).

    None is the process's memory. Raises what ``check_storage`` raises.
    """
    if place is None:
        return None
    check_storage(place)
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" in place:
        return RDBStorage(_with_driver(place))
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in _FILES:
        return RDBStorage(f"sqlite:///{path}")
    return JournalStorage(JournalFileBackend(str(path)))


def _with_driver(place: str) -> str:
    known = place.startswith(("postgresql://", "postgres://"))
    return _DRIVER + place.partition("://")[2] if known else place


def hide_password(place: str) -> str:
    """Return a storage's URL without the password in it."""
    scheme, mark, rest = place.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{user.partition(':')[0]}{at}{host}" if mark and at else place
