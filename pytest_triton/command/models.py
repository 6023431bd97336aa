"""The repository and the models that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_triton.errors import RepositoryError, UsageError
from pytest_triton.repository.layout import ModelFolder, find_model, models


def find_named(repository: Path, names: Sequence[str]) -> list[ModelFolder]:
    """Return the folders of the models ``names`` in ``repository``, of all of them where none is named.

    Raises ``UsageError`` when there is no such repository, or no such model.
    """
    try:
        found = models(repository)
        named = [find_model(repository, name) for name in names]
    except RepositoryError as error:
        hint = error.hint if repository.is_dir() else "Name the folder that holds the models' folders."
        raise UsageError(error.problem, hint=hint, details=error.details) from None
    if not found:
        raise UsageError(
            f"there is no model in {repository}",
            hint=f"A model is a folder with a config.pbtxt, or with a version in it: {repository / 'model' / '1'}/.",
        )
    return named or list(found)
