"""The winner of a search as a config.pbtxt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.case import Value
from pytest_triton.errors import RepositoryError
from pytest_triton.repository.configuration import read, read_text, to_text
from pytest_triton.repository.difference import unified
from pytest_triton.repository.installation import write
from pytest_triton.repository.layout import CONFIGURATION, CONFIGURATIONS
from pytest_triton.repository.names import check_model_name
from pytest_triton.repository.patch import apply
from pytest_triton.repository.textfile import rewrite

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class Install:
    """Where a winner goes: always into ``folder``; into the repository only when ``into_repository`` says so.

    With a ``name`` it is no config.pbtxt but ``configs/<name>.pbtxt``, which Triton takes instead when it is started
    with ``--model-config-name=<name>``, for the models that have it.
    """

    folder: Path
    repository: Path | None = None
    into_repository: bool = False
    name: str = ""

    @property
    def place(self) -> Path:
        """Where the file lies in a model's folder."""
        return Path(CONFIGURATIONS, f"{self.name}.pbtxt") if self.name else Path(CONFIGURATION)


def write_winner(install: Install, model: str, patch: Mapping[str, Value], applied: ModelConfig) -> dict[str, str]:
    """Write the winner's config.pbtxt: the model's own file with the patch in it, nothing else touched.

    Where the model has no file of its own, or the repository is not at hand, it is the configuration that Triton
    ``applied``. Returns what was written: ``path``, ``diff`` against the original and, if installed, ``installed``
    and ``original``; ``selected_by`` is the command that selects one with a name. Raises ``RepositoryError`` when a
    folder cannot be written, or ``model`` is a path.
    """
    check_model_name(model)
    source = install.repository / model / CONFIGURATION if install.repository is not None else None
    if source is not None and source.exists():
        original = read_text(source)
        text = rewrite(original, apply(read(source), patch))
    else:
        original, text = "", to_text(applied)
    path = install.folder / install.place
    _make_folder(path.parent, "Name another folder with --triton-output; nothing that was measured is lost.")
    write(path, text, keep_original=False)
    written = {"path": str(path), "diff": unified(original, text)}
    if install.name:
        written["selected_by"] = f"tritonserver --model-config-name={install.name}"
    if install.into_repository and install.repository is not None:
        target = install.repository / model / install.place
        _make_folder(target.parent, f"Copy {path} there; nothing that was measured is lost.")
        kept = write(target, text)
        written["installed"] = str(target)
        if kept is not None:
            written["original"] = str(kept)
    return written


def _make_folder(folder: Path, hint: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be made: {error.strerror}", hint=hint) from error
