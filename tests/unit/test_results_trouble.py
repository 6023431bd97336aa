"""A store that cannot be used: the message names it and the way out, and shows no password."""

from __future__ import annotations

import os
import pickle
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from databases import PASSWORD, PostgreSQL, postgresql

from pytest_triton.errors import OptionError
from pytest_triton.results import database, schema
from pytest_triton.results.place import Place, read_place
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store, StoreError
from pytest_triton.server.ports import choose_ports

RECORD = Record("test_it", "k", "m", {}, {}, {}, "PASS", run="now")


@pytest.fixture
def path(tmp_path) -> Path:
    """A store with one record."""
    path = tmp_path / "results.db"
    Store(Place(path=path)).append(RECORD)
    return path


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    database.connect.cache_clear()
    yield
    database.connect.cache_clear()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.close()


@contextmanager
def corrupt(path: Path) -> Iterator[None]:
    path.with_name("results.db-wal").unlink(missing_ok=True)
    path.write_bytes(b"not a database at all " * 500)
    yield


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(8000))
    yield


@contextmanager
def newer(path: Path) -> Iterator[None]:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE triton_schema SET version = 99")
    yield


@contextmanager
def a_folder(path: Path) -> Iterator[None]:
    path.unlink()
    path.mkdir()
    yield


@contextmanager
def below_a_file(path: Path) -> Iterator[None]:
    path.unlink()
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.write_text("")
    yield


@pytest.mark.parametrize(
    ("trouble", "told", "advice"),
    [
        (locked, "is locked: another program has held it", "fuser"),
        (corrupt, "is no SQLite database, or corrupt: file is not a database", "Move it away"),
        (damaged, "is no SQLite database, or corrupt: database disk image is malformed", "Move it away"),
        (newer, f"has schema 99, .* knows it up to {schema.VERSION}", "Update pytest-triton"),
        (a_folder, "unable to open database file", "Let this user write"),
        (below_a_file, "File exists|Not a directory", "Let this user write"),
    ],
)
def test_what_cannot_be_written_says_why_and_what_to_do(path, trouble, told, advice):
    with trouble(path), pytest.raises(StoreError, match=told) as caught:
        Store(Place(path=path)).append(RECORD)
    assert str(path) in caught.value.problem
    assert advice in caught.value.hint
    assert "--triton-store" in caught.value.hint
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("trouble", [corrupt, damaged, newer, a_folder])
def test_what_cannot_be_read_says_why(path, trouble):
    with trouble(path), pytest.raises(StoreError, match=str(path)):
        Store(Place(path=path)).history("m")


def test_while_another_program_writes_the_store_is_read(path):
    with locked(path):
        assert Store(Place(path=path)).history("m") == [RECORD]


@pytest.fixture
def as_somebody() -> Iterator[Callable[[], None]]:
    """Give up root's right to write everywhere, until the test ends."""
    was = os.geteuid()
    yield lambda: os.seteuid(65534) if was == 0 else None
    os.seteuid(was)


def test_a_folder_that_only_others_may_write(as_somebody):
    """Records that were kept as an artefact are read where nothing can be written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, missing = Store(Place(path=folder / "results.db")), Store(Place(path=folder / "new.db"))
        store.append(RECORD)
        older = Place(path=folder / "older.db")
        schema.bring_up(database.connect(older), to=1)
        folder.chmod(0o555)
        as_somebody()
        assert store.history("m") == [RECORD]
        for each in (store, missing):
            with pytest.raises(StoreError, match=r"cannot write the store .*(readonly|unable to open)") as caught:
                each.append(RECORD)
            assert "Let this user write that file and its folder" in caught.value.hint
        with pytest.raises(StoreError, match=r"cannot write the store .*older\.db"):
            Store(older).history("m")
        os.seteuid(os.getuid())
        folder.chmod(0o755)


def test_a_full_disk(path, monkeypatch):
    """The store may grow no further, which SQLite reports as it does a full disk."""
    engine = database.connect(Place(path=path))
    database.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    large = Record("t", "k", "m", {}, {}, {}, "PASS", reason="x" * 1_000_000)
    with pytest.raises(StoreError, match="is full") as caught:
        Store(Place(path=path)).append(large)
    assert "Free some space" in caught.value.hint
    assert Store(Place(path=path)).read("now") == [RECORD]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


def test_an_unreachable_postgresql():
    (port,) = choose_ports(1)
    store = Store(read_place(f"postgres://ci:secret@127.0.0.1:{port}/results?application_name=x", Path()))
    for use in (lambda: store.append(RECORD), lambda: store.history("m")):
        with pytest.raises(
            StoreError, match=f"cannot reach the store postgresql://ci:\\*\\*\\*@127.0.0.1:{port}/results: "
        ) as caught:
            use()
        assert "secret" not in str(caught.value)
        assert "--triton-store" in caught.value.hint


@pytest.mark.parametrize(
    ("password", "name", "told"),
    [("wrong-sesame", "postgres", "authentication failed"), (PASSWORD, "nowhere", '"nowhere" does not exist')],
)
def test_a_postgresql_that_lets_nobody_in(server, password, name, told):
    with pytest.raises(StoreError, match=told) as caught:
        Store(read_place(server.url(name, password), Path())).append(RECORD)
    assert password not in str(caught.value)
    assert f"postgresql://tester:***@127.0.0.1:{server.port}/{name}" in caught.value.problem


def test_a_postgresql_of_a_newer_schema(server, tmp_path):
    store = Store(read_place(server.new_database(), tmp_path))
    store.append(RECORD)
    with database.connect(store.place).begin() as connection:
        connection.exec_driver_sql("UPDATE triton_schema SET version = 99")
    with pytest.raises(StoreError, match=r"the store postgresql://tester:\*\*\*@.* has schema 99"):
        store.append(RECORD)


def test_without_its_driver(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StoreError, match="psycopg") as caught:
        Store(read_place("postgresql://127.0.0.1/results", Path())).append(RECORD)
    assert "pip install 'pytest-triton[postgresql]'" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kept/results.db", "/base/kept/results.db"),
        ("/var/results.db", "/var/results.db"),
        ("sqlite:///kept.db", "/base/kept.db"),
        ("sqlite:////var/kept.db", "/var/kept.db"),
        ("postgresql://db.example/results", "postgresql://db.example/results"),
        ("postgres://ci@db.example:5433/results", "postgresql://ci@db.example:5433/results"),
        ("postgresql+psycopg://ci:se%40cret@db/results?password=secret", "postgresql://ci:***@db/results"),
        ("postgresql:///results?host=/run/postgresql", "postgresql:///results"),
    ],
)
def test_places(text, shown):
    assert str(read_place(text, Path("/base"))) == shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mysql://root:secret@db/results", r"cannot be stored in mysql://...: valid names: postgresql, sqlite"),
        ("postgressql://ci:secret@db/results", "did you mean 'postgresql'"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("postgresql://ci:secret@db:port/results", "is no address of a database"),
        ("postgresql://ci:secret@[db/results", "is no address of a database"),
    ],
)
def test_what_is_no_place(text, told):
    with pytest.raises(OptionError, match=told) as caught:
        read_place(text, Path("/base"))
    assert "secret" not in str(caught.value)
