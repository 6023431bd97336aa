"""Interpreters for the embedded server that have, or lack, the libraries of its backends."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

DEBIAN = Path("/usr/bin/python3")
"""The interpreter that Debian's package python3-torch is for: PyPI's PyTorch is gigabytes."""
TRITON = ("pytriton", "nvidia_pytriton*")
NUMPY = ("numpy", "numpy.libs", "numpy-*")


def make_environment(folder: Path, base: Path, *packages: str, system: bool = False) -> str:
    """Make a virtual environment of the interpreter ``base`` that borrows some of our packages; return its program.

    With ``system`` it sees what is installed for ``base``, too.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    program = folder / "bin" / "python3"
    program.symlink_to(base.resolve())
    seen = "true" if system else "false"
    (folder / "pyvenv.cfg").write_text(f"home = {base.resolve().parent}\ninclude-system-site-packages = {seen}\n")
    for pattern in packages:
        for found in Path(sysconfig.get_paths()["purelib"]).glob(pattern):
            (site / found.name).symlink_to(found)
    return str(program)


def find_torch(folder: Path) -> str:
    """Return an interpreter with PyTorch that the embedded server runs in: ours, else one of Debian's; or skip."""
    if importlib.util.find_spec("torch") is not None:
        return sys.executable
    if not DEBIAN.exists():
        pytest.skip("PyTorch is not installed")
    program = make_environment(folder, DEBIAN, *TRITON, system=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check = f"import sys, torch; assert '%d.%d' % sys.version_info[:2] == '{version}'"
    answer = subprocess.run([program, "-c", check], capture_output=True, timeout=60, check=False)
    if answer.returncode:
        pytest.skip("PyTorch is installed neither here nor as Debian's package python3-torch")
    return program
