"""Files as the tar stream that Docker takes: made piece by piece, so that a repository of any size fits into memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pytest_triton.errors import RepositoryError
from pytest_triton.repository.contents import Entry, read_contents

_PIECE = 1 << 20
_CACHE = "__pycache__"
_END = bytes(2 * tarfile.BLOCKSIZE)


def pack_repository(repository: Path, under: PurePosixPath) -> Iterator[bytes]:
    """Yield the archive of a model repository, its files below the folder ``under``, readable for everyone.

    Raises ``RepositoryError`` for what cannot be copied: links out of the repository, files that change meanwhile.
    """
    yield _folder(under)
    blocked = set()
    for entry in read_contents(repository):
        if _CACHE in entry.name.parts:
            continue
        yield from _pack(entry, under / entry.name)
        if entry.name.suffix == ".py" and entry.name.parent not in blocked:
            blocked.add(entry.name.parent)
            # A file where Python would make its cache. With that Triton would take a model that was loaded for changed,
            # and reload what it could have changed in place.
            yield _header(tarfile.TarInfo(str(under / entry.name.parent / _CACHE)))
    yield _END


def pack_folder(name: PurePosixPath) -> bytes:
    """Return the archive of an empty folder, and of those that it lies in."""
    return b"".join([*(_folder(each) for each in reversed([name, *name.parents][:-1])), _END])


def pack_link(name: str, target: PurePosixPath) -> bytes:
    """Return the archive of a symbolic link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(target), 0o777
    return _header(info) + _END


def _pack(entry: Entry, name: PurePosixPath) -> Iterator[bytes]:
    if entry.is_folder:
        yield _folder(name)
        return
    try:
        with entry.source.open("rb") as file:
            size = entry.source.stat().st_size
            info = tarfile.TarInfo(str(name))
            info.size, info.mtime = size, int(entry.source.stat().st_mtime)
            info.mode = 0o555 if entry.source.stat().st_mode & 0o111 else 0o444
            yield _header(info)
            left = size
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise RepositoryError(f"{entry.source} became shorter while it was copied", hint="Copy it again.")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise RepositoryError(f"{entry.source} cannot be read: {error.strerror}") from error
    yield bytes(-size % tarfile.BLOCKSIZE)


def _folder(name: PurePosixPath) -> bytes:
    info = tarfile.TarInfo(str(name))
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return _header(info)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT)
