"""The backend directory of an embedded server: Triton's Python backend, and our backends written in Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_triton.server.embedded.installation import Installation

_OURS = Path(__file__).parent / "backends"
_PACKAGE = "pytest_triton_backends"
_MODEL = f'''"""What Triton calls: see the package, which the server's interpreter need not have installed."""

from {_PACKAGE}.{{name}}.model import TritonPythonModel
'''


def python_backends() -> tuple[str, ...]:
    """Name the backends that we ship, each written in Python as ``<name>/model.py``."""
    return tuple(sorted(model.parent.name for model in _OURS.glob("*/model.py")))


def make_backend_directory(directory: Path, installation: Installation) -> None:
    """Fill ``directory`` with links to the Python backend, the stub of the interpreter's version, and our backends."""
    python = directory / "python"
    python.mkdir(parents=True)
    for part in ("libtriton_python.so", "triton_python_backend_utils.py"):
        # A link would lead out of the backend directory, which Triton refuses for a backend that is written in Python.
        shutil.copyfile(installation.python_backend / part, python / part)
    (python / "triton_python_backend_stub").symlink_to(installation.stub)
    for name in python_backends():
        # Triton puts this folder on the path of the model's interpreter.
        (directory / name).mkdir()
        (directory / name / "model.py").write_text(_MODEL.format(name=name))
        (directory / name / _PACKAGE).symlink_to(_OURS, target_is_directory=True)
