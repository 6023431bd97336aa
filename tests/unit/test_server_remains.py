"""What dead runs left is removed, and nothing else: not what lives, not what is unknown, not what is another's."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from leftovers import wait_for_end

from pytest_triton.owner import Owner, sign
from pytest_triton.server import remains
from pytest_triton.server.remains import make_directory, mark, remove_remains

GONE = replace(Owner.current(), started=1)


class Left:
    """A server's things: blocks, a directory with a file in it and a link out of it, a process that bears its name."""

    def __init__(self, folder: Path, *, owner: Owner, block: bool = True, directory: bool = True) -> None:
        self.name = f"pytest-triton-{secrets.token_hex(5)}"
        self.directory = folder / self.name
        self.data = Path("/dev/shm") / f"{self.name}0123"
        self.mark = Path("/dev/shm") / f"{self.name}.owner"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Owner, "current", lambda: owner)
            if block:
                self.data.write_bytes(b"x")
                mark(self.name, self.directory)
            if directory:
                make_directory(self.directory)
                (self.directory / "file").touch()
                (self.directory / "link").symlink_to(folder)
        self.process = subprocess.Popen([sys.executable, "-c", "input()", f"--id={self.name}"], stdin=subprocess.PIPE)

    @property
    def found(self) -> set[str]:
        """What is still there."""
        things = {"data": self.data, "mark": self.mark, "directory": self.directory}
        found = {name for name, path in things.items() if path.exists()}
        return found | ({"process"} if self.process.poll() is None else set())

    def clear(self) -> None:
        """Remove what is still there."""
        self.process.communicate()
        for path in (self.data, self.mark):
            path.unlink(missing_ok=True)


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Left]]:
    """Leave things behind, in a temporary folder of the test's own unless it says otherwise."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    made: list[Left] = []

    class Noted(Left):
        def __init__(self, folder: Path = tmp_path / "tmp", **how: object) -> None:
            made.append(self)
            super().__init__(folder, **how)  # type: ignore[arg-type]

    yield Noted
    for each in made:
        each.clear()


def test_all_of_the_dead_and_nothing_of_the_living(leave: type[Left], tmp_path: Path):
    dead, living = leave(owner=GONE), leave(owner=Owner.current())
    elsewhere = leave(owner=replace(GONE, namespace=1))
    bystander = psutil.Process()
    remove_remains()
    dead.process.wait(5)
    assert dead.found == set()
    assert living.found == elsewhere.found == {"data", "mark", "directory", "process"}
    assert (tmp_path / "tmp").is_dir()
    assert wait_for_end([bystander], 0.01) == [bystander]


def test_a_directory_elsewhere_is_found_by_the_blocks(leave: type[Left], tmp_path: Path):
    dead = leave(tmp_path, owner=GONE)
    remove_remains()
    dead.process.wait(5)
    assert dead.found == set()


def test_a_directory_without_blocks_is_found(leave: type[Left]):
    dead, living = leave(owner=GONE, block=False), leave(owner=Owner.current(), block=False)
    remove_remains()
    assert not dead.directory.exists()
    assert living.directory.exists()


@pytest.mark.parametrize("directory", ["", "/", "{folder}/another", "relative", "{folder}/{name}/..", "\0"])
def test_a_mark_removes_no_directory_but_its_server_s(leave: type[Left], tmp_path: Path, directory: str):
    (tmp_path / "another").mkdir()
    dead = leave(owner=GONE, directory=False)
    dead.mark.write_text(f"{GONE}\n{directory.format(folder=tmp_path, name=dead.name)}\n")
    remove_remains()
    assert not dead.data.exists()
    assert (tmp_path / "another").is_dir()
    assert (tmp_path / "tmp").is_dir()


def test_what_no_mark_is_about_stays(leave: type[Left], tmp_path: Path):
    for text in ("", "nonsense\n", f"{GONE} and more\n"):
        broken = leave(owner=GONE)
        broken.mark.write_text(text)
        (broken.directory / ".owner").write_text(text)
        remove_remains()
        assert broken.found == {"data", "mark", "directory", "process"}
    unmarked = tmp_path / "tmp" / "pytest-triton-0123456789"
    foreign = tmp_path / "tmp" / "pytest-triton-of-another-kind"
    unmarked.mkdir()
    make_directory(foreign)
    (foreign / ".owner").write_text(f"{GONE}\n{foreign}\n")
    remove_remains()
    assert unmarked.is_dir()
    assert foreign.is_dir()


def test_what_is_not_this_user_s_stays(leave: type[Left], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    linked = leave(owner=GONE, directory=False)
    shutil.move(linked.mark, tmp_path / "mark")
    linked.mark.symlink_to(tmp_path / "mark")
    remove_remains()
    assert "data" in linked.found
    theirs = leave(owner=GONE)
    monkeypatch.setattr(remains.os, "getuid", lambda: 12345)
    remove_remains()
    assert theirs.found == {"data", "mark", "directory", "process"}


def test_long_and_odd_paths(leave: type[Left], tmp_path: Path):
    folder = tmp_path.joinpath(*["a" * 200] * 4, os.fsdecode(b"odd\xff"))
    folder.mkdir(parents=True)
    dead = leave(folder, owner=GONE)
    remove_remains()
    assert not dead.directory.exists()


def test_what_load_generators_shared_with_a_server_that_goes_on(monkeypatch: pytest.MonkeyPatch):
    living = Path("/dev/shm") / sign("pytest-triton-memory")
    with monkeypatch.context() as patch:
        patch.setattr("pytest_triton.owner.started", lambda pid: 1)
        dead = Path("/dev/shm") / sign("pytest-triton-memory")
    for path in (living, dead):
        path.touch()
    remove_remains()
    assert [path.exists() for path in (living, dead)] == [True, False]
    living.unlink()
