"""Images as the official ones are, of Triton and of Perf Analyzer, made of what is installed: nothing is downloaded."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_triton.server.embedded.installation import Installation, find_installation

TRITON = "/opt/tritonserver"
SDK = "/workspace/install/bin"
_LIBRARY = re.compile(r"(?:=> |^\s*)(/\S+) \(0x")
_LEFT_OUT = frozenset({"__pycache__", "test", "tests", "idlelib", "ensurepip", "lib2to3", "site-packages", "tkinter"})
_PROGRAMS = ("/bin/sh", "/bin/bash")
"""The Python backend starts each instance by bash."""


def recipe() -> dict[str, str]:
    """Return the image's environment variables."""
    installation = find_installation()
    return {
        "PATH": f"{TRITON}/bin:{Path(sys.base_prefix) / 'bin'}:/bin",
        "LD_LIBRARY_PATH": ":".join(str(each) for each in installation.libraries),
    }


def build() -> Iterator[bytes]:
    """Yield the archive of the image's files: Triton, an interpreter with NumPy, a shell, and the libraries of all."""
    installation = find_installation()
    found = {name: Path(name) for name in _PROGRAMS} | _triton(installation) | _python()
    yield from _pack(found, installation.environment())


def build_sdk(program: Path) -> Iterator[bytes]:
    """Yield the archive of an image with Perf Analyzer in ``SDK``, a shell, and the libraries of both.

    Those that are not looked for everywhere lie in that folder as well.
    """
    place = f"{program.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    found = {name: Path(name) for name in ("/bin/sh", "/bin/rm", "/bin/sleep")} | {f"{SDK}/perf_analyzer": program}
    yield from _pack(found, {**os.environ, "LD_LIBRARY_PATH": place}, beside=SDK)


def _pack(found: Mapping[str, Path], environment: Mapping[str, str], *, beside: str = "") -> Iterator[bytes]:
    """Yield the archive of files, by their names in the image, and of the libraries that they need.

    A library that the loader finds by its environment alone goes ``beside`` the program, if that is a folder.
    """
    everywhere = _libraries([*found.values()], {}) if beside else set()
    libraries = {
        name if not beside or name in everywhere else f"{beside}/{Path(name).name}": Path(name)
        for name in _libraries([*found.values()], environment)
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted({**found, **libraries}.items()):
            # What is a link here is a file there.
            archive.add(path.resolve(), name.lstrip("/"), recursive=False, filter=_plain)
            yield _taken(buffer)
        for name, text in (("etc/passwd", "root:x:0:0::/:/bin/sh\ntriton:x:1000:1000::/:/bin/sh\n"), ("etc/group", "")):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    yield _taken(buffer)


def _taken(buffer: io.BytesIO) -> bytes:
    """Return what has been written, and forget it; the archive's own place in it does not matter."""
    written = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return written


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.mode |= 0o444 | (0o111 if info.mode & 0o100 else 0)
    return info


def _triton(installation: Installation) -> dict[str, Path]:
    python = f"{TRITON}/backends/python"
    return {
        f"{TRITON}/bin/tritonserver": installation.tritonserver,
        f"{TRITON}/caches/local/libtritoncache_local.so": installation.caches / "local" / "libtritoncache_local.so",
        f"{python}/triton_python_backend_stub": installation.stub,
        **{
            f"{python}/{name}": installation.python_backend / name
            for name in ("libtriton_python.so", "triton_python_backend_utils.py")
        },
    }


def _python() -> dict[str, Path]:
    import numpy

    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    library = base / "lib" / version
    packages = Path(numpy.__file__).parent.parent
    found = {f"{base}/bin/{name}": base / "bin" / version for name in ("python3", version)}
    found |= {str(path): path for path in _below(library)}
    for name in ("numpy", "numpy.libs"):
        found |= {f"{library}/site-packages/{path.relative_to(packages)}": path for path in _below(packages / name)}
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _LEFT_OUT or path.suffix in {".pyc", ".a", ".pyi", ".h"}:
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _libraries(files: list[Path], environment: Mapping[str, str]) -> set[str]:
    """Return the shared libraries that programs and libraries among ``files`` need, by the loader itself."""
    binary = [str(path.resolve()) for path in files if _is_binary(path)]
    answer = subprocess.run(["ldd", *binary], env=environment, capture_output=True, text=True, check=False, timeout=60)
    found = [match[1] for line in answer.stdout.splitlines() if (match := _LIBRARY.search(line)) is not None]
    return {os.path.normpath(name) for name in found}


def _is_binary(path: Path) -> bool:
    if path.suffix and ".so" not in path.suffixes and not path.name.startswith("python"):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
