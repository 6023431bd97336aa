"""Records in SQLite and PostgreSQL: whole or not at all, whoever writes at once, and however it ends."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest
from databases import PostgreSQL, postgresql
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from pytest_triton.results import schema
from pytest_triton.results.database import connect
from pytest_triton.results.place import Place, read_place
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store

MACHINE = {"cpu": "AMD EPYC", "cores": 2}
SOURCE = {"commit": "b38eefc0", "dirty": False, "branch": "main"}


def record(test="test_it", run="now", **others):
    others = {"fingerprint": MACHINE, "revision": SOURCE, **others}
    model = others.pop("model", "m")
    verdict = others.pop("verdict", "PASS")
    return Record(id=test, key="k", model=model, configuration={}, load={}, slo={}, verdict=verdict, run=run, **others)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path) -> Store:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return Store(Place(path=tmp_path / "below" / "results.db"))
    return Store(read_place(request.getfixturevalue("server").new_database(), tmp_path))


def test_what_is_written_is_read_back(store):
    one = record(
        measurement={"p99": {"value": 0.1, "low": None, "high": None, "unit": "s"}},
        summary={"tie": False, "configuration": {"z": 1, "a": [None, {"b": "ü"}]}},
        checks=({"bound": "p99 <= 25.0 ms"},),
        search="s",
        point="i2",
    )
    store.append(one)
    store.append(record(run="before", revision={}))
    assert store.read("now") == [one]
    assert store.history("m", candidates=True)[-1].latencies == ""
    assert list(store.read("now")[0].summary["configuration"]) == ["z", "a"]
    assert store.read("now", search="s") == [one]
    assert store.read("now", search="other") == []
    assert store.read("before")[0].revision == {}
    assert store.read("never") == []


def test_an_empty_store_is_read_without_being_made(store):
    assert store.read("now") == store.history("m") == store.models() == []
    assert store.count_candidates("m") == 0
    assert store.place.path is None or not store.place.path.parent.exists()


def test_history_gives_the_last_records_of_each_test(store):
    for began in (3.0, 1.0, 2.0):
        store.append(record("test_b", began=began))
        store.append(record("test_a[c1]", began=began, search="s", point="i1"))
        store.append(record("test_a_1", began=began))
    store.append(record("test_b", model="other", began=9.0))

    def told(*arguments, **keywords):
        return [(r.id, r.began) for r in store.history(*arguments, **keywords)]

    assert told("m", last=2) == [("test_a_1", 2.0), ("test_a_1", 3.0), ("test_b", 2.0), ("test_b", 3.0)]
    assert told("m", case="[c", candidates=True, last=1) == [("test_a[c1]", 3.0)]
    assert told("m", case="_1", last=1) == [("test_a_1", 3.0)], "_ and % are no wildcards"
    assert told("m", case="a%1") == []
    assert told("other") == [("test_b", 9.0)]
    assert store.models() == ["m", "other"]
    assert store.count_candidates("m") == 1
    assert store.count_candidates("m", case="test_b") == 0


def test_the_newest_run_of_a_search_is_found_and_its_copies_are_no_history(store):
    assert store.newest("s", before="now") == []
    first = [record(f"test[i{n}]", run="first", search="s", point=f"i{n}", began=float(n)) for n in (1, 2)]
    end = record("test[best]", run="first", search="s", began=3.0)
    copy = replace(first[0], run="second", reused="first")
    other = record("test[i1]", run="third", search="other", point="i1", began=9.0)
    for each in (*first, end, copy, other):
        store.append(each)
    # A run that has copies only has measured nothing later than the first one did.
    assert store.newest("s", before="now") == [*first, end]
    assert store.newest("s", before="first") == [copy]
    assert [each.run for each in store.history("m", case="i1", candidates=True)] == ["first", "third"]
    store.append(record("test[i2]", run="second", search="s", point="i2", began=4.0))
    assert [each.point for each in store.newest("s", before="now")] == ["i1", "i2"]


def test_what_records_share_is_stored_once(tmp_path):
    path = tmp_path / "results.db"
    for cores in (1, 2, 2):
        Store(Place(path=path)).append(record(fingerprint={"cores": cores}))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM triton_fingerprints").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM triton_revisions").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [r.fingerprint["cores"] for r in Store(Place(path=path)).read("now")] == [1, 2, 2]


def write_many(place: Place) -> None:
    for number in range(25):
        Store(place).append(record(reason="x" * 5000, fingerprint={"cores": number % 3}))


def test_processes_that_make_and_write_a_store_at_once_lose_nothing(store):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_many, [store.place] * 4))
    kept = store.read("now")
    assert len(kept) == 100
    assert {len(r.reason) for r in kept} == {5000}


WRITER = """
import sys
from pytest_triton.results.place import read_place
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store

store = Store(read_place(sys.argv[1], Path.cwd()))
for number in range(10_000):
    store.append(Record("test_it", "k", "m", {}, {}, {}, "PASS", run="now", reason=f"{number:06}" * 3000,
                        fingerprint={"number": number}))
    print(number, flush=True)
"""


def test_a_killed_process_leaves_no_half_record(store, tmp_path):
    """Killed after several of its writes, each time a little later; what it said it wrote is there."""
    address = str(store.place.path) if store.place.path else store.place.url.replace("+psycopg", "")
    said = 0
    for lines in (1, 4, 9):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, address], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert writer.stdout is not None
        said += len(list(itertools.islice(writer.stdout, lines)))
        os.kill(writer.pid, signal.SIGKILL)
        said += len(writer.stdout.readlines())
        writer.wait()
        kept = store.read("now")
        assert len(kept) >= said
        said = len(kept)
        assert all(r.reason == r.reason[:6] * 3000 and r.fingerprint["number"] == int(r.reason[:6]) for r in kept)
    store.append(record(run="after"))
    assert len(store.read("after")) == 1
    if store.place.path is not None:
        with sqlite3.connect(store.place.path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_latencies_are_kept_apart(store):
    one = record(latencies="AAEC")
    store.append(one)
    store.append(record("test_other"))
    assert [r.latencies for r in store.history("m")] == ["", ""]
    assert store.history("m", latencies=True) == [one, record("test_other")]


OLDER = dict.fromkeys(
    (1, 2),
    """
        INSERT INTO triton_fingerprints VALUES ('f', '{"cpu": "old"}');
        INSERT INTO triton_revisions VALUES ('r', '{}');
        INSERT INTO triton_records
            (run, model, test, began, verdict, search, candidate, fingerprint, revision, document)
        VALUES ('now', 'm', 'test_it', 1.0, 'PASS', '', FALSE, 'f', 'r',
            '{"id": "test_it", "key": "k", "model": "m", "configuration": {}, "load": {}, "slo": {}, "verdict": "PASS",
              "run": "now", "began": 1.0, "latencies": "AAEC"}')
    """,
)
"""How each older version of the schema held the same record."""


def test_every_older_version_is_known():
    assert sorted(OLDER) == list(range(1, schema.VERSION))


@pytest.mark.parametrize("version", range(schema.VERSION))
def test_a_store_of_an_older_version_is_brought_up_to_date(store, version):
    if store.place.path is not None:
        store.place.path.parent.mkdir()
    engine = connect(store.place)
    schema.bring_up(engine, to=version)
    with engine.begin() as connection:
        for statement in OLDER.get(version, "").split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    old = [record(began=1.0, fingerprint={"cpu": "old"}, revision={}, latencies="AAEC")] if version else []
    assert store.history("m", latencies=True) == old
    new = record(began=2.0, latencies="AAEC")
    store.append(new)
    assert store.history("m", latencies=True) == [*old, new]
    with engine.connect() as connection:
        assert schema.version_of(connection) == schema.VERSION


def test_a_migration_that_fails_leaves_the_version_before(store, monkeypatch):
    store.append(record())
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE half (a INTEGER)", "nonsense")))
    with pytest.raises(SQLAlchemyError):
        schema.bring_up(connect(store.place), to=schema.VERSION + 1)
    with connect(store.place).connect() as connection:
        assert schema.version_of(connection) == schema.VERSION
        assert not inspect(connection).has_table("half")
    assert store.read("now") == [record()]


def test_the_tables_are_as_the_code_knows_them(store):
    store.append(record())
    with connect(store.place).connect() as connection:
        for table in (schema.fingerprints, schema.revisions, schema.records, schema.latencies):
            there = {column["name"] for column in inspect(connection).get_columns(table.name)}
            assert there == set(table.c.keys())
