"""The model that a test is about, and its repository, as far as files and markers say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_triton.errors import MarkerError, UsageError
from pytest_triton.plugin import options
from pytest_triton.repository.names import is_model_name

if TYPE_CHECKING:
    from pytest_triton.plugin.markers import Wish


def model_name(name: str) -> str:
    """Return the name of a model as a marker has it. Raises ``UsageError`` for what can be none, above all a path."""
    if not isinstance(name, str) or not name:
        raise UsageError(f"a model is named by a string, not {name!r}")
    if not is_model_name(name):
        raise UsageError(f"{name!r} is not the name of a model", hint="write that of its folder, without a path")
    return name


def model_of(wish: Wish, test_file: Path) -> str:
    """Return the model a test is about. Raises ``MarkerError`` when nothing says so."""
    if wish.model is not None:
        return wish.model
    from pytest_triton.repository.layout import is_model_folder

    if is_model_folder(test_file.parent):
        return test_file.parent.name
    raise MarkerError(
        "no model is named",
        hint=f'mark the test with @pytest.mark.triton_model("name"), or put {test_file.name} into the model\'s folder',
    )


def repository_of(test_file: Path, config: pytest.Config) -> Path | None:
    """Return the repository that is named, or the one that the test file lies in."""
    from pytest_triton.repository.layout import find_repository

    return options.folder(config, "repository") or find_repository(test_file)
