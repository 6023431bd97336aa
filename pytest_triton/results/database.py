"""Connections to a store's database, and what their errors mean to a person."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from functools import cache
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pytest_triton.errors import PytestTritonError
from pytest_triton.results.place import Place

PATIENCE = 10.0
"""Seconds to wait for other processes that write, and for a database that does not answer."""

_ELSEWHERE = "or name another store with --triton-store"


class StoreError(PytestTritonError):
    """Records cannot be written or read; what was measured is still reported."""


@cache
def connect(place: Place, *, reading: bool = False) -> Engine:
    """Return what opens connections; none is held between two uses, so that processes may fork.

    With ``reading`` an SQLite file is opened so that nothing can be written to it. Raises ``StoreError``.
    """
    if place.path is None:
        try:
            url = make_url(place.url)
            patience = {} if "connect_timeout" in url.query else {"connect_timeout": int(PATIENCE)}
            return create_engine(url, poolclass=NullPool, connect_args=patience, json_serializer=_write_json)
        except ImportError as error:
            raise StoreError(
                f"cannot use the store {place}: {error}", hint="pip install 'pytest-triton[postgresql]'"
            ) from error
        except (SQLAlchemyError, ValueError) as error:
            raise StoreError(f"{place} is no address of a database", hint="See --triton-store.") from error
    return _sqlite(place, reading=reading)


def _sqlite(place: Place, *, reading: bool) -> Engine:
    path = place.path
    assert path is not None
    query = {}
    if reading:
        query = {"mode": "ro", "uri": "true"}
        if not path.with_name(f"{path.name}-wal").exists() and not _writable(place):
            # Without this not even reading works where SQLite cannot lay its own files beside it.
            query["immutable"] = "1"
    database = path.as_uri() if reading else str(path)
    url = URL.create("sqlite", database=database, query=query)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": PATIENCE}, json_serializer=_write_json)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        # The driver's own idea of when a transaction begins leaves out the statements that make tables.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if not reading and (not path.exists() or not path.stat().st_size):
            # The file remembers; one that was there already may be a newer version's, and stays as it is.
            _write_ahead(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One that reads first and writes then could find that another has written meanwhile, and fail at once.
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _writable(place: Place) -> bool:
    return place.path is not None and os.access(place.path.parent, os.W_OK, effective_ids=True)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have readers and one writer not wait for each other. SQLite itself does not wait for its turn to set this."""
    deadline = time.monotonic() + PATIENCE
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _write_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def explain(error: SQLAlchemyError | OSError, place: Place, doing: str) -> StoreError:
    """Say what went wrong with the store while ``doing`` (``write`` or ``read``), and what to do about it."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
    else:
        # Not the whole of it: that holds the statement and every value.
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    if place.path is None:
        lost = isinstance(error, DBAPIError) and "connect" in reason
        hint = "Is the server running, and may this machine and user reach it? If not, start it, " + _ELSEWHERE + "."
        return StoreError(f"cannot {'reach' if lost else doing} the store {place}: {reason}", hint=hint)
    if "locked" in reason or "busy" in reason:
        return StoreError(
            f"the store {place} is locked: another program has held it for more than {PATIENCE:.0f} s",
            hint=f"End that program (`fuser {place}` names it), {_ELSEWHERE}.",
        )
    if "not a database" in reason or "malformed" in reason or "corrupt" in reason:
        return StoreError(
            f"the store {place} is no SQLite database, or corrupt: {reason}",
            hint=f"Move it away, and a new one is begun (`sqlite3 {place} .recover` may save the old), {_ELSEWHERE}.",
        )
    if "disk is full" in reason or "No space" in reason:
        return StoreError(f"cannot {doing} the store {place}: {reason}", hint=f"Free some space, {_ELSEWHERE}.")
    return StoreError(
        f"cannot {doing} the store {place}: {reason}",
        hint=f"Let this user {doing} that file and its folder, {_ELSEWHERE}.",
    )
