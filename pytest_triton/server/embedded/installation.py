"""Find the parts of the ``nvidia-pytriton`` wheel in the server's interpreter, and say what is missing."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_triton.errors import ServerUnavailable
from pytest_triton.server.embedded.libraries import require_libraries
from pytest_triton.server.interpreter import Interpreter

PROBE_TIMEOUT = 30.0
INSTALL = 'pip install "pytest-triton[embedded]"'

# Runs in the server's interpreter, which may be older than ours (3.8) and have nothing of ours. It imports no package.
_PROBE = """
import json, os, site, sys, sysconfig
from importlib import metadata
from importlib.util import find_spec
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
def folder(name):
    spec = find_spec(name)
    return os.path.dirname(spec.origin) if spec and spec.origin else None
library = "libpython%d.%d.so.1.0" % sys.version_info[:2]
# An interpreter that was moved after it was built (uv, conda) does not know its own directory of libraries.
places = sorted({sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")})
base = getattr(sys, "_base_executable", None)
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "implementation": sys.implementation.name,
    "executable": sys.executable,
    "home": os.path.dirname(base) if base else os.path.join(sys.base_prefix, "bin"),
    "packages": site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
    "first": [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path],
    "libraries": [path for path in places if os.path.exists(os.path.join(path, library))],
    "pytriton": folder("pytriton"),
    "pytriton_version": version("nvidia-pytriton"),
    "numpy": version("numpy"),
}))
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """An interpreter that models can run in, and the Triton that came with its ``nvidia-pytriton``.

    ``libraries`` are the directories that the server's shared libraries lie in.
    """

    interpreter: Interpreter
    pytriton_version: str
    tritonserver: Path
    python_backend: Path
    stub: Path
    caches: Path
    libraries: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        """Return our environment variables, with those that ``tritonserver`` and its stubs find their libraries by."""
        environment = dict(os.environ)
        environment["PATH"] = _prepend(str(self.interpreter.path.parent), environment.get("PATH", os.defpath))
        libraries = os.pathsep.join(str(directory) for directory in self.libraries)
        environment["LD_LIBRARY_PATH"] = _prepend(libraries, environment.get("LD_LIBRARY_PATH", ""))
        return environment


@functools.cache
def find_installation(python: str | None = None) -> Installation:
    """Look into the interpreter ``python`` (ours if None), which costs a start of it, once.

    Raises ``ServerUnavailable`` that names what is missing and how to get it.
    """
    _require_platform()
    interpreter = _find_interpreter(python)
    found = _probe(interpreter)
    version = (found["version"][0], found["version"][1])
    if found["pytriton"] is None or found["pytriton_version"] is None:
        raise ServerUnavailable(
            f"{interpreter} has no nvidia-pytriton, which brings the embedded Triton",
            hint=f"Install it with `{INSTALL}`, or name another interpreter in the ini key triton_embedded_python.",
        )
    _require_numpy_1(interpreter, found["numpy"])
    server = Path(found["pytriton"]) / "tritonserver"
    stub = server / "python_backend_stubs" / f"{version[0]}.{version[1]}" / "triton_python_backend_stub"
    if found["implementation"] != "cpython" or not stub.exists():
        there = sorted((server / "python_backend_stubs").glob("*/"), key=lambda path: int(path.name.partition(".")[2]))
        raise ServerUnavailable(
            f"nvidia-pytriton {found['pytriton_version']} cannot run models in {interpreter} "
            f"({found['implementation']} {version[0]}.{version[1]})",
            hint="It has stubs for CPython " + ", ".join(path.name for path in there) + ": use one of these.",
        )
    installation = Installation(
        interpreter=Interpreter(
            path=Path(found["executable"]),
            version=version,
            home=Path(found["home"]),
            packages=tuple(found["packages"]),
            first=tuple(found["first"]),
        ),
        pytriton_version=found["pytriton_version"],
        tritonserver=server / "bin" / "tritonserver",
        python_backend=server / "backends" / "python",
        stub=stub,
        caches=server / "caches",
        libraries=(
            Path(found["pytriton"]).parent / "nvidia_pytriton.libs",
            *(Path(directory) for directory in found["libraries"]),
        ),
    )
    require_libraries([installation.tritonserver, installation.stub], installation.environment())
    return installation


def _require_platform() -> None:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in {"x86_64", "AMD64"}:
        raise ServerUnavailable(
            f"the embedded Triton runs on Linux on x86-64 only, and this is {sys.platform} on {machine}",
            hint="Name a server elsewhere: --triton-server=http://host:port.",
        )
    if not os.access("/dev/shm", os.W_OK):
        raise ServerUnavailable(
            "/dev/shm is missing or not writable, and Triton's Python backend works through it",
            hint="In a container, give it one: docker run --shm-size=1g.",
        )


def _find_interpreter(python: str | None) -> Path:
    if python is None:
        return Path(sys.executable)
    found = shutil.which(Path(python).expanduser())
    if found is None:
        raise ServerUnavailable(
            f"there is no interpreter {python!r} to run models in",
            hint="The ini key triton_embedded_python names it: a path, or a program on PATH.",
        )
    return Path(found)


def _probe(interpreter: Path) -> dict[str, Any]:
    # From the root directory, because an interpreter that is given a script's text looks for modules where it stands.
    try:
        answer = subprocess.run(
            [interpreter, "-c", _PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT, cwd="/", check=True
        )
        found = json.loads(answer.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        raise ServerUnavailable(
            f"{interpreter} does not run (exit status {error.returncode})",
            details=error.stderr.strip().splitlines()[-5:],
            hint="The ini key triton_embedded_python must name a Python interpreter.",
        ) from error
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise ServerUnavailable(
            f"{interpreter} is not a Python interpreter that runs here: {error}",
            hint="The ini key triton_embedded_python must name a Python interpreter.",
        ) from error
    assert isinstance(found, dict)
    return found


def _require_numpy_1(interpreter: Path, numpy: str | None) -> None:
    if numpy is None:
        raise ServerUnavailable(
            f"{interpreter} has no NumPy, which Python models need", hint=f"Install it with `{INSTALL}`."
        )
    if int(numpy.partition(".")[0]) >= 2:
        raise ServerUnavailable(
            f"{interpreter} has NumPy {numpy}: the embedded Triton would answer every request with empty tensors",
            hint='Its Python backend was built for NumPy 1. Run pip install "numpy<2" there, or name another '
            "interpreter, with nvidia-pytriton and numpy<2, in the ini key triton_embedded_python.",
        )


def _prepend(first: str, rest: str) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else first
