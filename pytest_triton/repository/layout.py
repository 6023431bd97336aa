"""Model repositories and the model folders in them, as Triton lays them out."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.errors import ModelNotFound, RepositoryError, nearest
from pytest_triton.repository.names import check_model_name

CONFIGURATION = "config.pbtxt"
CONFIGURATIONS = "configs"
"""The folder beside it with others, one of which ``tritonserver --model-config-name`` selects."""
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model in a repository. ``configuration`` is its config.pbtxt, or None where Triton is to complete it."""

    name: str
    path: Path
    configuration: Path | None
    versions: tuple[int, ...]


def find_model(repository: Path, model: str) -> ModelFolder:
    """Find ``model`` in ``repository``.

    Raises ``RepositoryError`` when there is no such repository or ``model`` is a path rather than a name, and
    ``ModelNotFound``, with the nearest name or what to create, when there is no such model or it has no version.
    """
    check_model_name(model)
    _check_repository(repository)
    folder = repository / model
    if not folder.is_dir():
        raise _no_such_model(repository, model)
    found = _describe(folder)
    if not found.versions:
        raise ModelNotFound(
            f"the model {model!r} has no version: {folder} holds no folder named by a number",
            hint=f"Put the model's file into a version folder: {folder / '1'}/ (a name that begins with 0 is ignored).",
            model=model,
            details=[f"found {name}" for name in _names(folder)],
        )
    return found


def models(repository: Path) -> tuple[ModelFolder, ...]:
    """List the models of ``repository`` by name. Raises ``RepositoryError`` when there is no such repository."""
    _check_repository(repository)
    return tuple(_describe(folder) for folder in sorted(repository.iterdir()) if is_model_folder(folder))


def find_repository(test_file: Path) -> Path | None:
    """Find the repository that a test file lies in, or None.

    A test file beside a model's config.pbtxt or versions, or deeper in that folder, belongs to the folder that
    holds the model. A test file beside model folders belongs to its own folder. The root of a git checkout ends the
    search: a repository around it has nothing to do with the test.
    """
    start = test_file.absolute().parent
    if not is_model_folder(start) and _holds_models(start):
        return start
    for folder in (start, *start.parents):
        if is_model_folder(folder):
            return folder.parent
        if (folder / ".git").exists():
            return None
    return None


def is_model_folder(folder: Path) -> bool:
    """Tell whether ``folder`` holds a config.pbtxt, or a numbered version with a ``model.*`` file in it."""
    try:
        if (folder / CONFIGURATION).is_file():
            return True
        return any(
            _version(entry) is not None and any(file.name.startswith("model.") for file in entry.iterdir())
            for entry in folder.iterdir()
        )
    except (NotADirectoryError, FileNotFoundError, PermissionError):
        return False


def _holds_models(folder: Path) -> bool:
    try:
        return any(is_model_folder(entry) for entry in folder.iterdir())
    except (NotADirectoryError, FileNotFoundError, PermissionError):
        return False


def _describe(folder: Path) -> ModelFolder:
    configuration = folder / CONFIGURATION
    versions = sorted(version for entry in folder.iterdir() if (version := _version(entry)) is not None)
    return ModelFolder(folder.name, folder, configuration if configuration.is_file() else None, tuple(versions))


def _version(entry: Path) -> int | None:
    """Return the version a folder holds. Triton ignores names that are no number or begin with a zero."""
    name = entry.name
    if name.isascii() and name.isdigit() and not name.startswith("0") and entry.is_dir():
        return int(name)
    return None


def _check_repository(repository: Path) -> None:
    if repository.is_dir():
        return
    if repository.exists():
        raise RepositoryError(
            f"{repository} is not a model repository: it is a file",
            hint="Name the folder that holds the models' folders.",
        )
    near = [str(other) for other in _repositories_near(repository)]
    raise RepositoryError(
        f"there is no model repository {repository.absolute()}",
        hint="Name another with --triton-repository or the ini key triton_repository.",
        details=[f"a repository nearby: {name}" for name in near[:_MOST_SHOWN]],
    )


def _repositories_near(repository: Path) -> list[Path]:
    """List folders that hold models, in the closest existing folder above a path that does not exist."""
    above = next(folder for folder in repository.absolute().parents if folder.is_dir())
    try:
        return [entry for entry in (above, *sorted(above.iterdir())) if _holds_models(entry)]
    except PermissionError:
        return []


def _no_such_model(repository: Path, model: str) -> ModelNotFound:
    if is_model_folder(repository):
        return ModelNotFound(
            f"the repository {repository} has no model {model!r}: it is a model itself",
            hint=f"The repository is the folder above: {repository.absolute().parent}.",
            model=model,
        )
    names = [found.name for found in models(repository)]
    if not names:
        return ModelNotFound(
            f"the repository {repository} has no model {model!r}, nor any other",
            hint=f"A model is a folder with a version in it: {repository / model / '1'}/.",
            model=model,
        )
    shown = names if difflib.get_close_matches(model, names) else names[:_MOST_SHOWN]
    hint = nearest(model, shown) + (f", and {len(names) - len(shown)} more" if len(shown) < len(names) else "")
    return ModelNotFound(f"the repository {repository} has no model {model!r}", hint=hint, model=model)


def _names(folder: Path) -> list[str]:
    return [entry.name + ("/" if entry.is_dir() else "") for entry in sorted(folder.iterdir())][:_MOST_SHOWN]
