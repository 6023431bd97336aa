"""The store: every record of every run, in SQLite or PostgreSQL, written at once after its case."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from pytest_triton.case import digest
from pytest_triton.results import schema
from pytest_triton.results.database import StoreError, connect, explain
from pytest_triton.results.place import Place
from pytest_triton.results.record import Record

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["Store", "StoreError"]

_APART = ("fingerprint", "revision")
"""What many records share, and what is kept in tables of its own."""


@dataclass(frozen=True, slots=True)
class Store:
    """Records that last. Safe under several processes; a record is there as a whole or not at all.

    Every method raises ``StoreError`` when the store cannot be reached, read or written.
    """

    place: Place

    def append(self, record: Record) -> None:
        """Write one record. It has reached the disk when this returns."""
        values = record.as_dict()
        apart = {name: values.pop(name) for name in _APART}
        sketch = base64.b64decode(values.pop("latencies"))
        with self._writing() as connection:
            written = connection.execute(
                schema.records.insert().values(
                    run=record.run,
                    model=record.model,
                    test=record.id,
                    began=record.began,
                    verdict=record.verdict,
                    search=record.search,
                    candidate=bool(record.point),
                    reused=bool(record.reused),
                    fingerprint=_put(connection, schema.fingerprints, apart["fingerprint"]),
                    revision=_put(connection, schema.revisions, apart["revision"]),
                    document=values,
                )
            )
            if sketch and written.inserted_primary_key is not None:
                connection.execute(
                    schema.latencies.insert().values(record=written.inserted_primary_key.id, sketch=sketch)
                )

    def read(self, run: str, *, search: str = "") -> list[Record]:
        """Return the records of one run, oldest first, without latencies; with ``search`` only that search's."""
        records = schema.records
        query = _whole().where(records.c.run == run).order_by(records.c.id)
        return self._read(query.where(records.c.search == search) if search else query)

    def newest(self, search: str, *, before: str) -> list[Record]:
        """Return the records of a search in the run that measured a candidate of it last, oldest first.

        The run ``before`` which that was is left out, and so are latencies.
        """
        records = schema.records
        query = (
            select(records.c.run)
            .where(records.c.search == search, records.c.candidate, records.c.run != before)
            .order_by(records.c.began.desc(), records.c.id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            run = connection.execute(query).scalar() if connection is not None else None
        return self.read(run, search=search) if run is not None else []

    def history(
        self, model: str, *, case: str = "", last: int = 20, candidates: bool = False, latencies: bool = False
    ) -> list[Record]:
        """Return the ``last`` records of each test of ``model``: test after test, each from the oldest on.

        ``case`` is a part of the test's id. A search's candidates are left out unless asked for, their copies in later
        runs always, and the sketches of the latencies unless asked for.
        """
        records = schema.records
        age = func.row_number().over(
            partition_by=records.c.test, order_by=(records.c.began.desc(), records.c.id.desc())
        )
        chosen = select(records.c.id, age.label("age")).where(records.c.model == model, records.c.reused.is_(False))
        if case:
            chosen = chosen.where(records.c.test.contains(case, autoescape=True))
        if not candidates:
            chosen = chosen.where(records.c.candidate.is_(False))
        young = chosen.subquery()
        query = _whole(latencies=latencies).join(young, young.c.id == records.c.id).where(young.c.age <= last)
        return self._read(query.order_by(records.c.test, records.c.began, records.c.id))

    def count_candidates(self, model: str, *, case: str = "") -> int:
        """Count the different candidates that searches for ``model`` have tried."""
        records = schema.records
        query = select(func.count(records.c.test.distinct())).where(records.c.model == model, records.c.candidate)
        if case:
            query = query.where(records.c.test.contains(case, autoescape=True))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one()) if connection is not None else 0

    def models(self) -> list[str]:
        """Name every model that there is a record of."""
        with self._reading() as connection:
            if connection is None:
                return []
            return sorted(connection.execute(select(schema.records.c.model).distinct()).scalars())

    def _read(self, query: Select[Any]) -> list[Record]:
        with self._reading() as connection:
            rows = connection.execute(query).all() if connection is not None else []
        return [_record(row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Give a transaction on the newest schema."""
        with self._explaining("write"):
            if self.place.path is not None:
                self.place.path.parent.mkdir(parents=True, exist_ok=True)
            engine = connect(self.place)
            schema.bring_up(engine)
            with engine.begin() as connection:
                self._check(connection)
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """Give a connection that sees the newest schema, or None when nothing was ever written."""
        with self._explaining("read"):
            if self.place.path is not None and not self.place.path.exists():
                yield None
                return
            engine = connect(self.place, reading=True)
            with engine.connect() as connection:
                version = self._check(connection)
            if 0 < version < schema.VERSION:
                with self._explaining("write"):
                    schema.bring_up(connect(self.place))
            with engine.connect() as connection:
                yield connection if version else None

    def _check(self, connection: Connection) -> int:
        """Return the schema's version. Raises ``StoreError`` when it is newer than ours."""
        version = schema.version_of(connection)
        if version > schema.VERSION:
            raise StoreError(
                f"the store {self.place} has schema {version}, and this version of pytest-triton knows it up to "
                f"{schema.VERSION}: a newer one has written it",
                hint="Update pytest-triton, or name another store with --triton-store.",
            )
        return version

    @contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise explain(error, self.place, doing) from error


def _whole(*, latencies: bool = False) -> Select[Any]:
    """Select records with what they share, and with the sketch of their latencies."""
    records, fingerprints, revisions = schema.records, schema.fingerprints, schema.revisions
    columns = [records.c.document, fingerprints.c.document.label("where"), revisions.c.document.label("state")]
    query = (
        select(*columns, *([schema.latencies.c.sketch] if latencies else []))
        .select_from(records)
        .join(fingerprints, fingerprints.c.digest == records.c.fingerprint)
        .join(revisions, revisions.c.digest == records.c.revision)
    )
    return query.outerjoin(schema.latencies, schema.latencies.c.record == records.c.id) if latencies else query


def _record(row: Row[Any]) -> Record:
    record = Record.from_dict({**row.document, "fingerprint": row.where, "revision": row.state})
    sketch = row._mapping.get("sketch")
    return replace(record, latencies=base64.b64encode(sketch).decode()) if sketch else record


def _put(connection: Connection, table: Table, document: Mapping[str, Any]) -> str:
    """Write what may be there already, and return its digest."""
    key = digest(document)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(table).values(digest=key, document=document).on_conflict_do_nothing())
    return key
