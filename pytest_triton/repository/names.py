"""Names of models, checked before any of them becomes a part of a path."""

from __future__ import annotations

from pytest_triton.errors import RepositoryError

_LONGEST = 255
"""Bytes that a folder's name has at most."""


def is_model_name(name: str) -> bool:
    """Say whether ``name`` can be that of a model: a folder's name in a repository, and no way to another folder."""
    return (
        name not in ("", ".", "..")
        and not any(character in "/\\" or not character.isprintable() for character in name)
        and len(name.encode("utf-8", "surrogateescape")) <= _LONGEST
    )


def check_model_name(name: str) -> None:
    """Raise ``RepositoryError`` for what cannot be the name of a model, above all a path."""
    if not is_model_name(name):
        raise RepositoryError(
            f"{name!r} is not the name of a model",
            hint="Name the model's folder in the repository, without a path.",
            model=name,
        )
