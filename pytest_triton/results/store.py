"""The store: one JSON line per record, written at once after every case."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.errors import PytestTritonError
from pytest_triton.results.record import SCHEMA, Record


class StoreError(PytestTritonError):
    """Records cannot be written or read; what was measured is still reported."""


@dataclass(frozen=True, slots=True)
class Store:
    """An append-only file of records, safe under several processes."""

    path: Path

    def append(self, record: Record) -> None:
        """Write one record: a whole line or, when the disk is full, nothing. Raises ``StoreError``."""
        line = json.dumps({"schema": SCHEMA, **record.as_dict()}, separators=(",", ":")) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                start = os.fstat(file.fileno()).st_size
                try:
                    file.write(line.encode())
                    file.flush()
                except OSError:
                    # Half a line would spoil the next one.
                    file.truncate(start)
                    raise
        except OSError as error:
            raise StoreError(
                f"cannot write records to {self.path}: {error.strerror}",
                hint="Free some space or choose another folder with --triton-output; the run's results are unharmed.",
            ) from error

    def read(self, run: str) -> list[Record]:
        """Return the records of one run, oldest first. A line that was cut off is left out."""
        try:
            with self.path.open("rb") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot read records from {self.path}: {error.strerror}") from error
        records = []
        for line in lines:
            if run.encode() not in line:
                continue
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if values.get("schema") == SCHEMA and values.get("run") == run:
                records.append(Record.from_dict(values))
        return records
