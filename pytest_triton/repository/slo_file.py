"""``slo.toml`` beside a model: what it must deliver, in one place that its owner reads and changes.

[slo]                       # every test of the model
error_rate = "0%"
p95 = "25ms"

[slo."i2-dyn"]              # a candidate of its searches, by its id
p95 = "40ms"

[[case]]                    # the cases whose load and configuration are so
concurrency = [8, 16]
protocol = "grpc"
candidate = { "instance_group.count" = 2 }
p95 = "80ms"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_triton.errors import PytestTritonError, UsageError, nearest
from pytest_triton.metrics import METRICS
from pytest_triton.slo import SLO
from pytest_triton.slo_rules import LOAD_FIELDS, Reading, Rule

NAME = "slo.toml"


class SLOFileError(UsageError):
    """An slo.toml cannot be read, or says something that cannot be meant."""


def read_rules(path: Path, reading: Reading) -> tuple[Rule, ...]:
    """Return the rules of the file at ``path``, in its order; none where there is no such file.

    Raises ``SLOFileError`` naming the file and its line or table, with the nearest valid name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise SLOFileError(f"{path} cannot be read: {reason}", hint="mend it, or remove it") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SLOFileError(
            f"{path} is no TOML: {error}", hint='a bound is written as a string in quotes: p95 = "25ms"'
        ) from None
    return tuple(_File(path, reading).rules(document))


class _File:
    """One file being read."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading

    def rules(self, document: Mapping[str, Any]) -> list[Rule]:
        """Read the whole document."""
        for name in document:
            if name not in ("slo", "case"):
                # A bound without a table above it is the likeliest slip.
                hint = "write [slo] above it" if name in METRICS else nearest(name, ("slo", "case"))
                raise self._error("", f"there is no key {name!r}", hint)
        rules = self._slo(document.get("slo", {}))
        cases = document.get("case", [])
        if not isinstance(cases, list) or not all(isinstance(each, dict) for each in cases):
            raise self._error("", "case is not a list of tables", "write [[case]], in double brackets")
        return [*rules, *(self._case(f"[[case]] number {number}", each) for number, each in enumerate(cases, 1))]

    def _slo(self, table: Any) -> list[Rule]:
        if not isinstance(table, dict):
            raise self._error("", "slo is no table", "write [slo], and the bounds under it")
        bounds = {name: value for name, value in table.items() if not isinstance(value, dict)}
        rules = [self._rule("[slo]", bounds)] if bounds else []
        for name, value in table.items():
            if isinstance(value, dict):
                if name in METRICS:
                    raise self._error("[slo]", f"{name} is a table", f'write {name} = "..." or [">=", "..."]')
                rules.append(self._rule(f"[slo.{_quoted(name)}]", value, choices=(name,)))
        return rules

    def _case(self, place: str, table: dict[str, Any]) -> Rule:
        bounds = {name: value for name, value in table.items() if name in METRICS}
        load = {name: value for name, value in table.items() if name in LOAD_FIELDS}
        for name in table:
            if name not in bounds and name not in load and name != "candidate":
                raise self._error(
                    place, f"there is no key {name!r}", nearest(name, (*METRICS, *LOAD_FIELDS, "candidate"))
                )
        if not load and "candidate" not in table:
            raise self._error(place, "nothing says which cases it is for", "name a field of the load, or a candidate")
        if not bounds:
            raise self._error(place, "it bounds nothing", 'write a metric and its limit, as in p95 = "25ms"')
        try:
            choices = self._reading.choices(table["candidate"]) if "candidate" in table else ()
            conditions = self._reading.conditions(load)
        except PytestTritonError as error:
            raise self._error(place, error.problem, error.hint) from None
        return self._rule(place, bounds, choices=choices, load=conditions)

    def _rule(self, place: str, limits: Mapping[str, Any], **others: Any) -> Rule:
        source = f"{NAME} {place}"
        try:
            return Rule(SLO.parse(limits, source).bounds, source, from_file=True, **others)
        except UsageError as error:
            raise self._error(place, error.problem, error.hint) from None

    def _error(self, place: str, problem: str, hint: str) -> SLOFileError:
        return SLOFileError(f"{self._path}{', ' if place else ''}{place}: {problem}", hint=hint)


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f'"{name}"'
