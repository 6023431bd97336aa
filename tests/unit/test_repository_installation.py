"""A new config.pbtxt comes whole or not at all, and the original stays."""

import errno
import os
from pathlib import Path

import pytest

from pytest_triton.errors import RepositoryError
from pytest_triton.repository.installation import write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "alexnet" / "config.pbtxt"
    path.parent.mkdir()
    return path


def test_a_first_configuration(path: Path) -> None:
    assert write(path, "max_batch_size: 4\n") is None
    assert [entry.name for entry in path.parent.iterdir()] == ["config.pbtxt"]


def test_the_original_lies_beside_it_with_its_mode(path: Path) -> None:
    path.write_bytes(b"max_batch_size: 4\r\n")
    path.chmod(0o640)
    kept = write(path, "max_batch_size: 8\n")
    assert kept == path.with_name("config.pbtxt.orig")
    assert kept.read_bytes() == b"max_batch_size: 4\r\n"
    assert path.read_text() == "max_batch_size: 8\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_no_original_is_ever_overwritten(path: Path) -> None:
    for number in (1, 2, 3, 1, 3):
        write(path, f"max_batch_size: {number}\n")
    contents = {entry.name: entry.read_text()[-2] for entry in path.parent.iterdir()}
    assert contents == {
        "config.pbtxt": "3",
        "config.pbtxt.orig": "1",
        "config.pbtxt.orig.1": "2",
        "config.pbtxt.orig.2": "3",
    }


def test_the_same_text_changes_nothing(path: Path) -> None:
    path.write_text("max_batch_size: 4\n")
    before = path.stat().st_ino
    assert write(path, "max_batch_size: 4\n") is None
    assert path.stat().st_ino == before


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "shared.pbtxt"
    target.write_text("max_batch_size: 4\n")
    path.symlink_to(target)
    write(path, "max_batch_size: 8\n")
    assert path.is_symlink()
    assert target.read_text() == "max_batch_size: 8\n"


def test_without_the_original(path: Path) -> None:
    path.write_text("max_batch_size: 4\n")
    assert write(path, "max_batch_size: 8\n", keep_original=False) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["config.pbtxt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path.write_text("max_batch_size: 4\n")

    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RepositoryError, match="cannot be written") as caught:
        write(path, "max_batch_size: 8\n")
    assert os.strerror(code) in str(caught.value)
    assert [(entry.name, entry.read_text()) for entry in path.parent.iterdir()] == [
        ("config.pbtxt", "max_batch_size: 4\n")
    ]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="No such file or directory"):
        write(tmp_path / "gone" / "config.pbtxt", "max_batch_size: 8\n")
