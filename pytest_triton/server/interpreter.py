"""The Python that models run in, without the ``__pycache__`` that their import would leave in the model repository.

Triton would take a model with a new one for changed, too, and reload what it could have changed in place. Its Python
backend embeds an interpreter, which in most releases heeds PYTHONDONTWRITEBYTECODE. From 22.12 to 24.10 it is isolated:
it takes the first ``python3`` on PATH for its own, with that one's packages, and ignores PYTHONPATH, packages installed
for the user alone, and PYTHONDONTWRITEBYTECODE. There a virtual environment of ours is put in front.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CLEAN = """\
from importlib.machinery import SourceFileLoader

repositories = {repositories!r}
write = SourceFileLoader.set_data


def set_data(self, path, data, **options):
    if not path.startswith(repositories):
        write(self, path, data, **options)


SourceFileLoader.set_data = set_data
"""
_LOOK = """
import json, os, site, sys
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([sys.executable, sys.version_info[:2], os.path.dirname(base), site.getsitepackages()]))
"""
_LOOK_WITHIN = 10.0
_LIBRARY = re.compile(rb"libpython(\d+)\.(\d+)\.so")
_ISOLATED = b"PyConfig_InitIsolatedConfig"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python interpreter, and where it finds its modules.

    ``home`` is the directory of the interpreter that a virtual environment was made from. ``packages`` are the
    folders of installed packages, ``first`` those that PYTHONPATH puts before all others.
    """

    path: Path
    version: tuple[int, int]
    home: Path
    packages: tuple[str, ...]
    first: tuple[str, ...] = ()


def make_view(directory: Path, interpreter: Interpreter, *, keep_clean: Sequence[Path]) -> Path:
    """Make a virtual environment in ``directory`` that sees what ``interpreter`` sees; return the folder for PATH.

    Nothing is cached under the directories ``keep_clean`` when modules are imported from them.
    """
    version = "python" + ".".join(str(number) for number in interpreter.version)
    packages = directory / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (directory / "bin").mkdir()
    (directory / "bin" / "python3").symlink_to(interpreter.path.resolve())
    (directory / "pyvenv.cfg").write_text(f"home = {interpreter.home}\ninclude-system-site-packages = false\n")
    (packages / "pytest_triton_clean.py").write_text(
        _CLEAN.format(repositories=tuple(f"{folder}{os.sep}" for folder in keep_clean))
    )
    # Each line is executed by itself when the interpreter starts.
    startup = ["import pytest_triton_clean"]
    startup += [f"import site; site.addsitedir({folder!r})" for folder in interpreter.packages]
    startup += [f"import sys; sys.path[:0] = {list(interpreter.first)!r}"] if interpreter.first else []
    (packages / "models.pth").write_text("\n".join(startup) + "\n")
    return directory / "bin"


def without_bytecode(
    environment: Mapping[str, str], stub: Path, directory: Path, *, keep_clean: Sequence[Path]
) -> dict[str, str]:
    """Return ``environment`` for a Triton whose Python backend has that ``stub``, so that models leave no bytecode.

    An isolated interpreter gets a view in ``directory`` of the one that it would take for its own. Where that is none
    of its version, nobody knows what it finds, and that stays as it is.
    """
    changed = {"PYTHONDONTWRITEBYTECODE": "1", **environment}
    version = _isolated_version(stub)
    found = shutil.which("python3", path=environment.get("PATH", os.defpath))
    interpreter = _look(found) if version is not None and found is not None else None
    if interpreter is not None and interpreter.version == version:
        view = make_view(directory, interpreter, keep_clean=keep_clean)
        changed["PATH"] = os.pathsep.join([str(view), environment.get("PATH", os.defpath)])
    return changed


def _isolated_version(stub: Path) -> tuple[int, int] | None:
    """Return the version of Python that ``stub`` embeds, if that is isolated from the environment, else None."""
    try:
        program = stub.read_bytes()
    except OSError:
        return None
    library = _LIBRARY.search(program)
    return (int(library[1]), int(library[2])) if library and _ISOLATED in program else None


@functools.cache
def _look(program: str) -> Interpreter | None:
    """Find out what an isolated interpreter that takes ``program`` for its own would see; None if it does not run."""
    try:
        answer = subprocess.run(
            [program, "-I", "-c", _LOOK], capture_output=True, text=True, timeout=_LOOK_WITHIN, cwd="/", check=True
        )
        path, (major, minor), home, packages = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return Interpreter(Path(path), (major, minor), Path(home), tuple(packages))
