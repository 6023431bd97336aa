"""``--triton-json``: what a run found, for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_triton.errors import PytestTritonError
from pytest_triton.files import write_whole
from pytest_triton.results.record import SCHEMA, Record

_CASE = ("id", "key", "model", "configuration", "load", "slo", "verdict", "reason", "measurement")
_IF_ANY = ("composing", "beside", "status", "reused", "probes")
_SEARCH = (
    "model",
    "objective",
    "objectives",
    "winner",
    "configuration",
    "gain",
    "tie",
    "front",
    "measured",
    "candidates",
    "seconds",
)


class ReportError(PytestTritonError):
    """A report cannot be written."""


def document(records: Sequence[Record], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document: every case's record, and what each search decided.

    Values are in seconds, bytes, per second and fractions; a gain is a fraction of the default (0.67 is 67 % more).
    """
    rows = [record.as_dict() for record in records]
    ids = {(row["search"], row["point"]): row["id"] for row in rows if row["point"]}
    searches = []
    for row in rows:
        if row["summary"]:
            search = {name: row["summary"][name] for name in _SEARCH}
            search["winner"] = ids.get((row["search"], search["winner"]), search["winner"])
            searches.append(search)
    return {
        "schema": SCHEMA,
        "fingerprint": {
            **fingerprint,
            "servers": sorted({record.server for record in records if record.server}),
            "engines": sorted({record.engine for record in records if record.engine}),
        },
        "cases": [
            {name: row[name] for name in _CASE} | {name: row[name] for name in _IF_ANY if row[name]} for row in rows
        ],
        "searches": searches,
    }


def write(path: Path, records: Sequence[Record], fingerprint: Mapping[str, Any]) -> None:
    """Write the document, at once or not at all. Raises ``ReportError``."""
    text = json.dumps(document(records, fingerprint), indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise ReportError(
            f"cannot write {path}: {error.strerror}",
            hint="Name another place with --triton-json; nothing else is lost.",
        ) from error
