"""The Python environment that models run in: that of the server's interpreter, seen through one of ours.

Triton's Python backend embeds an isolated interpreter. It takes the first ``python3`` on PATH for its own, with that
one's packages, and ignores PYTHONPATH, packages installed for the user alone, and PYTHONDONTWRITEBYTECODE. So we put a
virtual environment of our own in front: models see what the named interpreter sees, whatever its program is called, and
their import leaves no ``__pycache__`` in the user's model repository. Triton would take such a model for changed, too,
and reload what it could have changed in place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_triton.server.embedded.installation import Installation

_CLEAN = """\
from importlib.machinery import SourceFileLoader

repositories = {repositories!r}
write = SourceFileLoader.set_data


def set_data(self, path, data, **options):
    if not path.startswith(repositories):
        write(self, path, data, **options)


SourceFileLoader.set_data = set_data
"""


def make_environment(directory: Path, installation: Installation, *, keep_clean: Sequence[Path]) -> dict[str, str]:
    """Make the environment in ``directory``; return the variables that ``tritonserver`` is to be started with.

    Nothing is cached under the directories ``keep_clean`` when modules are imported from them.
    """
    interpreter = installation.interpreter
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
    environment = installation.environment()
    environment["PATH"] = os.pathsep.join([str(directory / "bin"), environment["PATH"]])
    # onnxruntime reports its use over the network otherwise.
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return environment
