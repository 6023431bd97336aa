"""What is in a model repository, for a copy of it: files and folders, and nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_triton.errors import RepositoryError


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder or a file: its ``name`` in the repository, and where it really lies."""

    name: PurePosixPath
    source: Path
    is_folder: bool


def read_contents(repository: Path) -> Iterator[Entry]:
    """Yield all that is in ``repository``, folders before what is in them; of a link, what it leads to.

    Hidden folders at its top are left out, as Triton does. Raises ``RepositoryError`` for a link that leads out of the
    repository, to nothing or in a circle, and for what is neither a file nor a folder.
    """
    root = repository.resolve()
    for source in _sorted(root):
        if not source.name.startswith("."):
            yield from _read(root, PurePosixPath(source.name), source, (root,))


def _read(root: Path, name: PurePosixPath, source: Path, above: tuple[Path, ...]) -> Iterator[Entry]:
    try:
        real = source.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise RepositoryError(
            f"{root / name} leads nowhere: {source.readlink() if source.is_symlink() else error}",
            hint="Remove the link, or put there what it should lead to.",
        ) from error
    if not real.is_relative_to(root):
        raise RepositoryError(
            f"{root / name} leads out of the repository, to {real}, and is not copied",
            hint="Put the file itself into the repository, or name a repository that holds both.",
        )
    if real in above:
        raise RepositoryError(f"{root / name} leads back to {real}", hint="Remove the link: it has no end.")
    if real.is_dir():
        yield Entry(name, real, is_folder=True)
        for each in _sorted(real):
            yield from _read(root, name / each.name, each, (*above, real))
    elif real.is_file():
        yield Entry(name, real, is_folder=False)
    else:
        raise RepositoryError(f"{root / name} is neither a file nor a folder", hint="Remove it from the repository.")


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be read: {error.strerror}") from error
