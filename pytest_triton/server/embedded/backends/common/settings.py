"""What the server was told about a backend on its command line, and where a model's file lies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .refusal import RefusalError

DEFAULTS = {"default-max-batch-size": "4"}
"""Triton's own default, which it hands to every backend."""


def read_backend_settings(backend: str) -> dict[str, str]:
    """Read ``--backend-config`` for one backend, of the server that started this process.

    Triton hands these settings to the Python backend itself and not to a backend written in Python, but they are on the
    server's command line, and the server is this process's parent.
    """
    command = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    return parse_backend_settings([argument.decode(errors="replace") for argument in command.split(b"\0")], backend)


def parse_backend_settings(arguments: Sequence[str], backend: str) -> dict[str, str]:
    """Return the settings of one backend, the later overriding the earlier:

    Triton's defaults, ``--backend-config=KEY=VALUE``, ``--backend-config=NAME,KEY=VALUE``.
    """
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    values = []
    for position, argument in enumerate(arguments):
        if argument.startswith("--backend-config="):
            values.append(argument.partition("=")[2])
        elif argument == "--backend-config" and position + 1 < len(arguments):
            values.append(arguments[position + 1])
    for value in values:
        name, comma, setting = value.partition(",")
        if not comma:
            name, setting = "", value
        key, _, text = setting.partition("=")
        if name == "":
            shared[key] = text
        elif name == backend:
            own[key] = text
    return {**DEFAULTS, **shared, **own}


def default_max_batch_size(settings: Mapping[str, str]) -> int:
    """Return the batch size that auto-complete gives to a model that can batch."""
    text = settings["default-max-batch-size"]
    try:
        return int(text)
    except ValueError:
        raise RefusalError(f"--backend-config default-max-batch-size: '{text}' is not an integer") from None


def locate_version(model_dir: str, filename: str) -> Path:
    """Return the version folder, given the one that holds the model's file: ``filename`` may name folders itself."""
    folder = Path(model_dir)
    for _ in Path(filename).parent.parts:
        folder = folder.parent
    return folder


def locate_model(version_dir: Path, filename: str, model: str) -> Path:
    """Return the model's file or folder. Raises ``RefusalError`` when there is none."""
    if filename.startswith("/") or ".." in filename.split("/"):
        raise RefusalError(f"default_model_filename '{filename}' of model '{model}' leads out of its version's folder")
    path = version_dir / filename
    if not path.exists():
        raise RefusalError(f"unable to find '{path}' for model '{model}'")
    return path
