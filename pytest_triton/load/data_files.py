"""Input data from NumPy's archives, and from folders with one file per tensor as Perf Analyzer takes them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_triton.errors import InputError
from pytest_triton.load.arrays import Array, from_raw
from pytest_triton.load.data_json import read_json
from pytest_triton.load.samples import Sample, Tensors, shape_up, split
from pytest_triton.load.shapes import InputSpec

KINDS = "the path of an .npz file, of a folder with one file per input, or of Perf Analyzer's .json"


def read_path(path: Path, tensors: Tensors) -> list[list[Sample]]:
    """Read the samples of each stream from a file or a folder. Raises ``InputError``, naming it."""
    try:
        if path.is_dir():
            return [split(tensors, read_folder(path, tensors))]
        if path.suffix == ".npz":
            return [split(tensors, read_npz(path))]
        if path.suffix == ".json":
            return read_json(path, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error.problem}", hint=error.hint, model=tensors.model) from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or error
        raise InputError(
            f"input data cannot be read from {path}: {reason}", hint=f"Give {KINDS}.", model=tensors.model
        ) from error
    raise InputError(f"input data cannot be read from {path}", hint=f"Give {KINDS}.", model=tensors.model)


def read_npz(path: Path) -> Mapping[str, Any]:
    """Read the arrays of an archive by name."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_folder(folder: Path, tensors: Tensors) -> Mapping[str, Any]:
    """Read one array for each file, which is called as its input, or as an output to say what that must be.

    A file holds one element of the batch: raw bytes in row-major order, little-endian; BYTES are text, an element a
    line. Hidden files are left out.
    """
    arrays = {}
    for file in sorted(folder.iterdir()):
        if not file.name.startswith("."):
            arrays[file.name] = _read_raw(file, tensors.find(file.name), tensors)
    if not arrays:
        raise InputError("the folder is empty", hint="Put one file into it for each input, called as the input.")
    return arrays


def _read_raw(file: Path, spec: InputSpec, tensors: Tensors) -> Array:
    data = file.read_bytes()
    if spec.datatype != "BYTES":
        return shape_up(from_raw(spec, data, tensors.model), spec, tensors)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    array = np.empty(len(lines), dtype=np.object_)
    array[:] = lines
    return shape_up(array, spec, tensors)
