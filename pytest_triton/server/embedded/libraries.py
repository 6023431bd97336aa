"""The shared libraries that the embedded Triton needs from the system, and the packages that bring them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_triton.errors import ServerUnavailable

LINK_TIMEOUT = 30.0

_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_OLD_LIBC = re.compile(r"version `(GLIBC|GLIBCXX|CXXABI)_([\d.]+)' not found")
_PYTHON = re.compile(r"libpython(\d\.\d+)\.so")
_PACKAGES = {
    "libz.so.1": "zlib1g",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "libgomp.so.1": "libgomp1",
    "libre2.so.9": "libre2-9",
    "libb64.so.0d": "libb64-0d",
    "libnuma.so.1": "libnuma1",
    "libcurl.so.4": "libcurl4",
    "libarchive.so.13": "libarchive13",
    "libxml2.so.2": "libxml2",
    "libexpat.so.1": "libexpat1",
}


def require_libraries(programs: Iterable[Path], environment: Mapping[str, str]) -> None:
    """Let the dynamic linker resolve each program; raise ``ServerUnavailable`` that names the packages missing."""
    for program in programs:
        said = _resolve(program, environment)
        missing = sorted(set(_MISSING.findall(said)))
        if missing:
            raise ServerUnavailable(
                f"the embedded Triton needs shared libraries that this system lacks: {', '.join(missing)}",
                hint=advise_packages(missing),
            )
        versions = sorted({f"{name} {version}" for name, version in _OLD_LIBC.findall(said)})
        if versions:
            raise ServerUnavailable(
                f"this system is too old for the embedded Triton, which needs {', '.join(versions)}",
                hint="It runs on glibc 2.35 and newer (Debian 12, Ubuntu 22.04). Name a server elsewhere: --triton-server=http://host:port.",
            )


def advise_packages(libraries: Sequence[str]) -> str:
    """Name the Debian packages that bring ``libraries``, as the command that installs them.

    >>> advise_packages(["libz.so.1", "libpython3.11.so.1.0"])
    'Install them with `apt-get install zlib1g libpython3.11`.'
    """
    packages = []
    unknown = []
    for library in libraries:
        python = _PYTHON.match(library)
        if python is not None:
            packages.append(f"libpython{python[1]}")
        elif library in _PACKAGES:
            packages.append(_PACKAGES[library])
        else:
            unknown.append(library)
    sentences = []
    if packages:
        sentences.append(f"Install them with `apt-get install {' '.join(packages)}`.")
    if unknown:
        sentences.append(f"Find the package of each with `apt-file search {' '.join(unknown)}`.")
    return " ".join(sentences)


def _resolve(program: Path, environment: Mapping[str, str]) -> str:
    # What ldd does, without its shell: the linker lists what it would load instead of starting the program.
    try:
        answer = subprocess.run(
            [program],
            env={**environment, "LD_TRACE_LOADED_OBJECTS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LINK_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnavailable(
            f"{program} cannot be run here: {error}",
            hint="Reinstall nvidia-pytriton; on a system without glibc (Alpine) name a server elsewhere.",
        ) from error
    return answer.stdout
