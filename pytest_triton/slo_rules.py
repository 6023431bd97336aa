"""Which bounds hold for which case: an SLO for all, and others for some candidates and loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_triton.case import Load, Value
from pytest_triton.errors import UsageError, nearest
from pytest_triton.metrics import Needs
from pytest_triton.slo import SLO, Bound

DEFAULT = "default"
"""The id of the default configuration, beside those of a search's candidates."""
LOAD_FIELDS = tuple(each.name for each in dataclasses.fields(Load))

Conditions = Mapping[str, tuple[Any, ...]]
"""Fields of the load and paths of ``ModelConfig``, each with the values that are meant."""
Choice = str | Conditions
"""Candidates: one by its id, or those whose patch and load have certain values."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The case that an SLO is looked for: its id, as far as it has one, its patch and its load."""

    id: str
    patch: Mapping[str, Value]
    load: Load

    def meets(self, choice: Choice) -> bool:
        """Tell whether ``choice`` means this case."""
        if isinstance(choice, str):
            return choice == self.id
        return all(
            (getattr(self.load, name) if name in LOAD_FIELDS else self.patch.get(name, _ABSENT)) in values
            for name, values in choice.items()
        )


_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """Bounds, and the cases that they hold for.

    Those that have ``load``'s values, and that one of ``choices`` means; without either, all. ``source`` says where
    the rule is written; a file's stands back behind the markers'. ``own`` is set for one that stands on the test
    itself, so that what it names must be there.
    """

    bounds: tuple[Bound, ...]
    source: str = ""
    choices: tuple[Choice, ...] = ()
    load: Conditions = field(default_factory=dict)
    from_file: bool = False
    own: bool = False

    def weight(self, subject: Subject) -> tuple[int, int] | None:
        """Return how special the rule is for a case: an id before conditions, more before fewer. None: not meant."""
        if not subject.meets(self.load):
            return None
        if not self.choices:
            return 0, len(self.load)
        fitting = [choice for choice in self.choices if subject.meets(choice)]
        if not fitting:
            return None
        named = any(isinstance(choice, str) for choice in fitting)
        return int(named), len(self.load) + max(0 if isinstance(choice, str) else len(choice) for choice in fitting)


def resolve(rules: Sequence[Rule], subject: Subject) -> SLO:
    """Return the SLO of a case. ``rules`` stand in order, the nearest first.

    Of each metric the bounds of one rule count: a marker's before a file's, then the more special, then the nearer.
    Raises ``UsageError`` when the bounds that remain contradict each other, or two tables of a file that are equally
    special do.
    """
    weighed = [(rule, weight) for rule in rules if (weight := rule.weight(subject)) is not None]
    # A stable sort of what stands furthest first: the last one that bounds a metric counts.
    weighed.reverse()
    weighed.sort(key=lambda pair: (not pair[0].from_file, pair[1]))
    found: dict[str, tuple[Rule, tuple[int, int], list[Bound]]] = {}
    for rule, weight in weighed:
        for name in dict.fromkeys(bound.metric.name for bound in rule.bounds):
            bounds = [bound for bound in rule.bounds if bound.metric.name == name]
            before = found.get(name)
            if before is not None and rule.from_file and before[1] == weight and before[2] != bounds:
                raise UsageError(
                    f"{before[0].source} and {rule.source} both bound {name} of {subject.id or 'this case'}, and "
                    "neither is the more special",
                    hint="give one of them one more condition, or leave the bound out of it",
                )
            found[name] = rule, weight, bounds
    return SLO.of(bound for _, _, bounds in found.values() for bound in bounds)


def check_names(rules: Iterable[Rule], subjects: Sequence[Subject], *, search: bool) -> None:
    """Raise ``UsageError`` for a rule that names a candidate, or an axis's value, which no case of a test has.

    In a ``search`` an id must be known wherever it is written, and axes where a marker names them. Elsewhere only the
    test's own markers must fit: a file, a class or a module speaks of other tests, too.
    """
    for rule in rules:
        strict = rule.own or (search and not rule.from_file)
        for choice in rule.choices:
            if any(subject.meets(choice) for subject in subjects):
                continue
            if isinstance(choice, str) and (strict or search):
                raise _unknown_id(rule, choice, subjects)
            if not isinstance(choice, str) and strict:
                raise _unknown_values(rule, choice, subjects)


def _unknown_id(rule: Rule, name: str, subjects: Sequence[Subject]) -> UsageError:
    ids = [subject.id for subject in subjects if subject.id]
    what = f"{rule.source}: no candidate of this test has the id {name!r}"
    if name == "best":
        return UsageError(what, hint="the bounds of the candidate that wins count at the end; name candidates")
    if not ids:
        return UsageError(
            what, hint="it has one case only, without an id: leave candidate out, or add triton_search or a list"
        )
    return UsageError(what, hint=nearest(name, ids))


def _unknown_values(rule: Rule, conditions: Conditions, subjects: Sequence[Subject]) -> UsageError:
    patched = dict.fromkeys(path for subject in subjects for path in subject.patch)
    for name, values in conditions.items():
        if name in LOAD_FIELDS:
            there = list(dict.fromkeys(repr(getattr(subject.load, name)) for subject in subjects))
        elif name in patched:
            there = list(dict.fromkeys(repr(each.patch[name]) for each in subjects if name in each.patch))
        else:
            known = nearest(name, patched) if patched else "it has no triton_search"
            return UsageError(f"{rule.source}: {name} is no axis of this test", hint=known)
        if not any(repr(value) in there for value in values):
            told = " or ".join(map(repr, values))
            return UsageError(f"{rule.source}: no case of this test has {name}={told}", hint=f"there is {_list(there)}")
    return UsageError(
        f"{rule.source}: no case of this test has all of {', '.join(conditions)} as it says", hint="name fewer axes"
    )


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)


def check_load(slo: SLO, load: Load) -> None:
    """Raise ``UsageError`` for a bound on a metric that ``load`` cannot give."""
    for bound in slo.bounds:
        needs = bound.metric.needs
        if (needs is Needs.STREAM and not load.streaming) or (needs is Needs.OPEN_LOOP and not load.open_loop):
            raise UsageError(
                f"{bound}{_of(bound)}: this load does not give {bound.metric.name}; it takes {needs.value}",
                hint="change the load, leave the bound out, or let it hold only where the load fits (candidate=...)",
            )


def _of(bound: Bound) -> str:
    return f" ({bound.source})" if bound.source else ""


ReadField = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """How what selects cases is checked and read: a field of the load, a path of ``ModelConfig`` and its value."""

    load: ReadField
    path: Callable[[str], str]
    value: ReadField

    def choices(self, candidate: Any) -> tuple[Choice, ...]:
        """Read ``candidate``: an id, a mapping from axes to values, or several of them. Raises ``UsageError``."""
        several = candidate if isinstance(candidate, list | tuple) else [candidate]
        if not several or not all(isinstance(each, str | Mapping) and each for each in several):
            raise UsageError(
                f"candidate={candidate!r} names no candidate",
                hint="write an id as in 'i2-dyn', values of axes as in {'instance_group.count': 2}, or a list of these",
            )
        return tuple(each if isinstance(each, str) else self.conditions(each) for each in several)

    def conditions(self, values: Mapping[Any, Any]) -> Conditions:
        """Read values of axes. Of a field of the load, a list means any of them."""
        return dict(self._condition(name, value) for name, value in values.items())

    def _condition(self, name: Any, value: Any) -> tuple[str, tuple[Any, ...]]:
        if name not in LOAD_FIELDS:
            if not isinstance(name, str):
                raise UsageError(f"{name!r} is no axis", hint="name it by a string, as in 'instance_group.count'")
            path = self.path(name)
            return path, (self.value(path, value),)
        if name == "sequence_length" and isinstance(value, list) and len(value) == 2:
            value = tuple(value)
        several = value if isinstance(value, list) else [value]
        if not several:
            raise UsageError(f"{name}=[] selects nothing", hint="name at least one value")
        return name, tuple(self.load(name, each) for each in several)
