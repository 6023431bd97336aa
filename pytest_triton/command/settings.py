"""Where the last runs kept their records, when the command line does not say: as pytest's ini file has it."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_triton.errors import OptionError
from pytest_triton.results.place import NAME, Place, read_place

_OUTPUT = ".triton"
_FILES = (
    ("pytest.toml", "pytest"),
    (".pytest.toml", "pytest"),
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest.ini_options"),
    ("pyproject.toml", "tool.pytest"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)
"""The files of settings that pytest knows, in its order, each with the section it reads."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where pytest would begin: a folder, its file of settings if there is one, and the ini keys in it."""

    folder: Path
    file: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        """The output folder of runs that begin here."""
        named = str(self.values.get("triton_output") or _OUTPUT).strip()
        return self.folder / Path(named).expanduser()


def find_settings(here: Path) -> Found:
    """Return the nearest folder, from ``here`` upwards, with a file of settings for pytest, or with records.

    That is ``here`` itself where there is none. Raises ``OptionError``.
    """
    for folder in (here, *here.parents):
        found = read_settings(folder)
        if found.values or (folder / _OUTPUT / NAME).exists():
            return found
    return Found(here)


def find_place(here: Path) -> Place:
    """Return where the records of tests below ``here`` are. Raises ``OptionError``.

    The folder and those above it are searched for ``.triton/results.db``, or a file of settings for pytest, which may
    name another place.
    """
    found = find_settings(here)
    if found.values.get("triton_store"):
        return read_place(str(found.values["triton_store"]).strip(), found.folder)
    return Place(path=found.output / NAME)


def read_settings(folder: Path) -> Found:
    """Return pytest's ini keys as a file in ``folder`` has them; nothing without one. Raises ``OptionError``."""
    for name, section in _FILES:
        read = _read_toml if name.endswith(".toml") else _read_ini
        if values := read(folder / name, section):
            return Found(folder, folder / name, values)
    return Found(folder)


def _read_toml(path: Path, section: str) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        values: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    for key in section.split("."):
        values = values.get(key, {}) if isinstance(values, dict) else {}
    return values if isinstance(values, dict) else {}


def _read_ini(path: Path, section: str) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        raise _unreadable(path, error) from error
    return parser[section] if parser.has_section(section) else {}


def _unreadable(path: Path, error: Exception) -> OptionError:
    reason = str(error).partition("\n")[0]
    return OptionError(f"cannot read {path}: {reason}", hint="Correct it, or name the store with --store.")
