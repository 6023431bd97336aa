"""The record of a case: what is stored, reported and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_triton.case import Value

SCHEMA = 1
"""Version of the JSON form of records and of ``--triton-json``."""


@dataclass(frozen=True, slots=True)
class Record:
    """One measured, skipped or failed case, as plain JSON values only, so that it crosses processes as it is.

    ``verdict`` is PASS, FAIL, INCONCLUSIVE or ERROR; for a candidate of a search ``status`` says what became of it.
    ``checks`` are the rows of the verdict, ``measurement`` maps metrics to value, low, high and unit, ``composing``
    the models that this one calls to what the server counted of them, ``beside`` those that were under a load of their
    own meanwhile to that load; their metrics stand in ``measurement`` as ``other:p99``. ``settings`` is what a table
    shows of the configuration that was applied. ``engine`` sent the load. ``seconds`` is what the whole case took from
    ``began`` on, when it had the device for itself.
    ``effort`` says how many ``seconds`` the load was measured for, when that ``began`` (in seconds since the epoch,
    after the warm-up), and the ``limit`` in which it had to be decided (absent where nothing was to be decided early).
    ``search`` is the key of the search the case belongs to; ``summary`` is set on the case that decided one. A
    candidate's ``sought`` names the ``objectives`` of its search, the number of its ``candidates``, and whose ``turn``
    it was: a strategy that proposes candidates decides only then which ``point`` that is. Its ``probes`` are the
    loads that were tried with it, with what was measured at each and the verdict on that. Its ``basis`` holds digests
    of what else its result rests on, by what they are of. ``reused`` is the run that measured it, where that was an
    earlier one.

    ``fingerprint`` says where it was measured, ``revision`` which state of the source; ``model_files`` and ``applied``
    are digests of the model's files and of the configuration that the server applied, empty where not known.
    ``latencies`` is a ``Sketch`` of the single requests, in base64.
    """

    id: str
    key: str
    model: str
    configuration: Mapping[str, Value]
    load: Mapping[str, Any]
    slo: Mapping[str, str]
    verdict: str
    reason: str = ""
    measurement: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    composing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: tuple[Mapping[str, Any], ...] = ()
    requests: int = 0
    seconds: float = 0.0
    effort: Mapping[str, float] = field(default_factory=dict)
    server: str = ""
    engine: str = ""
    status: str = ""
    search: str = ""
    point: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    sought: Mapping[str, Any] = field(default_factory=dict)
    probes: tuple[Mapping[str, Any], ...] = ()
    basis: Mapping[str, str] = field(default_factory=dict)
    reused: str = ""
    run: str = ""
    began: float = 0.0
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    revision: Mapping[str, Any] = field(default_factory=dict)
    model_files: str = ""
    applied: str = ""
    latencies: str = ""

    @property
    def turn(self) -> str:
        """Whose turn it was in a search: the id of one of its tests; empty at its end, and outside of one."""
        return str(self.sought.get("turn", self.point))

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Read a record back; keys of a later schema are left out."""
        known = {f.name for f in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "checks": tuple(kept.get("checks", ())), "probes": tuple(kept.get("probes", ()))})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
