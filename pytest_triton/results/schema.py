"""The store's tables, and how a store of an older version comes to have them.

The migrations are our own list and not Alembic's: they are a few statements of plain SQL that two databases share, and
need no folder of scripts, no settings file and no command to bring a user's file up to date when it is opened.
A migration that was released is never changed; a new one is added at the end.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    text,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE triton_fingerprints (digest VARCHAR(16) PRIMARY KEY, document JSON NOT NULL)",
        "CREATE TABLE triton_revisions (digest VARCHAR(16) PRIMARY KEY, document JSON NOT NULL)",
        "CREATE TABLE triton_records (id {serial}, run TEXT NOT NULL, model TEXT NOT NULL, test TEXT NOT NULL, "
        "began DOUBLE PRECISION NOT NULL, verdict TEXT NOT NULL, search TEXT NOT NULL, candidate BOOLEAN NOT NULL, "
        "fingerprint VARCHAR(16) NOT NULL REFERENCES triton_fingerprints (digest), "
        "revision VARCHAR(16) NOT NULL REFERENCES triton_revisions (digest), document JSON NOT NULL)",
        "CREATE INDEX triton_records_of_a_test ON triton_records (model, test, began)",
        "CREATE INDEX triton_records_of_a_run ON triton_records (run, search)",
    ),
    (
        "CREATE TABLE triton_latencies (record {reference} PRIMARY KEY REFERENCES triton_records (id), "
        "sketch {bytes} NOT NULL)",
    ),
    (
        "ALTER TABLE triton_records ADD COLUMN reused BOOLEAN NOT NULL DEFAULT FALSE",
        "CREATE INDEX triton_records_of_a_search ON triton_records (search, began)",
    ),
)
"""What leads from each version of the schema to the next. An empty database is version 0."""

VERSION = len(MIGRATIONS)

_LOCK = 7_466_115_102
"""A number of our own for PostgreSQL's advisory locks."""

_TYPES = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY", "reference": "INTEGER", "bytes": "BLOB"},
    "postgresql": {
        "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "reference": "BIGINT",
        "bytes": "BYTEA",
    },
}

_tables = MetaData()

fingerprints = Table("triton_fingerprints", _tables, Column("digest", Text, primary_key=True), Column("document", JSON))
"""Where something was measured, once however many records refer to it."""

revisions = Table("triton_revisions", _tables, Column("digest", Text, primary_key=True), Column("document", JSON))
"""Which state of the source was measured."""

records = Table(
    "triton_records",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("run", Text),
    Column("model", Text),
    Column("test", Text),
    Column("began", Double),
    Column("verdict", Text),
    Column("search", Text),
    Column("candidate", Boolean),
    Column("reused", Boolean),
    Column("fingerprint", Text),
    Column("revision", Text),
    Column("document", JSON),
)
"""The records; ``document`` is all of one, what is looked for stands beside it.

``candidate``: it is of a search; ``reused``: it is a copy of an earlier run's.
"""

latencies = Table("triton_latencies", _tables, Column("record", Integer), Column("sketch", LargeBinary))
"""The sketches of single requests, apart because they are larger than the rest and rarely wanted."""


def version_of(connection: Connection) -> int:
    """Return the version of the database's schema, 0 when there is none yet."""
    if not inspect(connection).has_table("triton_schema"):
        return 0
    return int(connection.execute(text("SELECT version FROM triton_schema")).scalar_one())


def bring_up(engine: Engine, *, to: int = VERSION) -> None:
    """Bring a database to a version of the schema, each step in a transaction that no other process comes between."""
    while True:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            version = version_of(connection)
            if version >= to:
                return
            if not version:
                connection.execute(text("CREATE TABLE triton_schema (version INTEGER NOT NULL)"))
                connection.execute(text("INSERT INTO triton_schema VALUES (0)"))
            for statement in MIGRATIONS[version]:
                connection.execute(text(statement.format(**_TYPES[engine.dialect.name])))
            connection.execute(text("UPDATE triton_schema SET version = :version"), {"version": version + 1})
