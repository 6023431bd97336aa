"""Digests of what was measured: a model's files, the configuration that a server applied, what the requests carry."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.repository import slo_file
from pytest_triton.repository.layout import CONFIGURATION, CONFIGURATIONS

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

WHOLE = 64 * 2**20
"""Files up to this size, in bytes, are read whole. Of a larger one blocks are read, evenly spread."""

BLOCKS = 256
BLOCK = 64 * 2**10
"""Size of a block in bytes: so 16 MiB are read of a file of whatever size."""

_DIGITS = 16


def digest_configuration(configuration: ModelConfig) -> str:
    """Return 16 hex digits that are the same for the same configuration, whatever name the model is served under."""
    same = type(configuration)()
    same.CopyFrom(configuration)
    same.name = ""
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()[:_DIGITS]


def digest_model(folder: Path) -> str:
    """Return 16 hex digits of what a model's folder holds beside its configurations, its tests and hidden files.

    Names and sizes count, and the contents: those of a file over 64 MiB by 256 blocks of 64 KiB, from its first to its
    last, so that a change anywhere but between two blocks is seen. A file that has not changed its size and time is
    read once. Empty where there is no such folder, or a file cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for path in sorted(_files(folder)):
            status = path.stat()
            contents = _digest_file(str(path), status.st_size, status.st_mtime_ns)
            whole.update(f"{path.relative_to(folder)}\0{status.st_size}\0{contents}\n".encode(errors="surrogateescape"))
    except OSError:
        return ""
    return whole.hexdigest()[:_DIGITS] if folder.is_dir() else ""


def digest_value(value: Any) -> str:
    """Return 16 hex digits of what a marker was given: a path's contents, arrays, code by its text, and plain values.

    What the code calls is not looked at. A thing that shows nothing of itself but where it lies in memory has another
    digest in every run.
    """
    return hashlib.sha256("\n".join(_describe(value)).encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _describe(value: Any) -> Iterator[str]:
    if isinstance(value, str | Path) and Path(value).is_absolute():
        path = Path(value)
        yield digest_model(path) if path.is_dir() else _digest_whole(path)
    elif isinstance(value, Mapping):
        yield "{"
        for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
            yield str(key)
            yield from _describe(item)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for item in value:
            yield from _describe(item)
        yield "]"
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
        yield f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    elif callable(value):
        try:
            yield inspect.getsource(value)
        except (OSError, TypeError):
            yield repr(value)
    else:
        yield repr(value)


def _digest_whole(path: Path) -> str:
    try:
        status = path.stat()
        return _digest_file(str(path), status.st_size, status.st_mtime_ns)
    except OSError:
        return ""


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=True):
        top = Path(place) == folder
        left_out = ("__pycache__", *((CONFIGURATIONS,) if top else ()))
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        for name in names:
            if not name.startswith(".") and not (top and _is_about_the_model(name)):
                yield Path(place) / name


def _is_about_the_model(name: str) -> bool:
    """Tell whether a file beside the versions is the configuration, an SLO or a test: none changes what is served."""
    tests = name == "conftest.py" or (name.endswith(".py") and name.startswith("test_")) or name.endswith("_test.py")
    return tests or name in (CONFIGURATION, slo_file.NAME) or name.startswith(f"{CONFIGURATION}.")


@lru_cache(maxsize=4096)
def _digest_file(path: str, size: int, modified: int) -> str:
    """``modified`` is there so that a file is read again once it has changed."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        if size <= WHOLE:
            while part := file.read(2**20):
                digest.update(part)
        else:
            for number in range(BLOCKS):
                file.seek((size - BLOCK) * number // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()
