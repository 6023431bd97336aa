"""A search's markers -> its cases: one for each candidate, or a space that candidates are proposed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pytest_triton.case import Candidate, Case, Load, digest
from pytest_triton.errors import AxisError, MarkerError, PytestTritonError, UsageError
from pytest_triton.plugin import options
from pytest_triton.plugin.loads import make_load, read_value, triton_load
from pytest_triton.plugin.markers import Wish
from pytest_triton.plugin.models import model_of, repository_of
from pytest_triton.plugin.search_marker import SearchWish
from pytest_triton.plugin.slos import check_cases, check_models, rules_of, slo_of
from pytest_triton.plugin.spaces import Found, find_space
from pytest_triton.repository.fields import canonical_path, canonical_value
from pytest_triton.search.names import Reader
from pytest_triton.search.objective import Objective
from pytest_triton.search.settings import Settings
from pytest_triton.search.space import MOST_POINTS, Expansion, Space, SpacePoint, tell
from pytest_triton.search.strategies.storage import check_installed, check_storage, place_of
from pytest_triton.slo import SLO
from pytest_triton.slo_rules import DEFAULT, Rule, Subject

TRIALS = 50
"""How many candidates are proposed where nothing says it."""
_CORES_ELSEWHERE = 4
"""Cores that a server is taken to have of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search that several collected tests share.

    ``points`` maps the id of each of its tests, the last one aside, to a case: a candidate's, or where candidates are
    proposed from ``space`` the default configuration's under the ids ``trial-01`` and so on. ``base`` is the default
    configuration's case. ``notes`` are to be said about the space. ``make`` gives a point's case with its SLO.
    """

    key: str
    settings: Settings
    base: Case
    points: dict[str, Case]
    space: Space | None = None
    notes: tuple[str, ...] = ()
    make: Callable[[SpacePoint], Case] = field(kw_only=True, compare=False)

    def case(self, point: str) -> Case:
        """Return the case of a candidate by its id, one that was proposed among them. Raises ``KeyError``."""
        if self.space is None:
            return self.points[point]
        found = self.space.find(point)
        if found is None:
            raise KeyError(point)
        return self.make(found)


def make_search(metafunc: pytest.Metafunc, wish: Wish) -> Search:
    """Make the search that the markers of a test function ask for. Raises ``MarkerError``."""
    assert wish.search is not None
    model = model_of(wish, metafunc.definition.path)
    rules = rules_of(wish, model, metafunc.definition.path, metafunc.config)
    cases = _Cases(wish, model, rules, metafunc.config)
    # Where a node id begins depends on the arguments of a run, and a later run is to find what this one has measured.
    test = [str(metafunc.definition.path), metafunc.definition.nodeid.partition("::")[2]]
    try:
        found = _find_space(metafunc, wish, wish.search, model)
        settings = _settings(wish.search, metafunc.config)
        for by in settings.objectives:
            _check_objective(by, model, wish)
        if settings.strategy == "optuna":
            check_installed()
            if settings.storage is not None:
                check_storage(place_of(settings.storage, metafunc.config.rootpath))
            return _proposed(test, cases, found, settings)
        return _expanded(test, cases, found, settings)
    except MarkerError:
        raise
    except PytestTritonError as error:
        raise MarkerError(f"triton_search: {error.problem}", hint=error.hint, details=error.details) from None


def _find_space(metafunc: pytest.Metafunc, wish: Wish, search: SearchWish, model: str) -> Found:
    test_file, remote = metafunc.definition.path, options.is_remote(metafunc.config)
    # A list in triton_load beside a search is one more axis of it.
    lists = {name: wish.loads[name] for name in wish.loads if name in wish.expanded and name not in (search.axes or {})}
    return find_space(
        search,
        lists,
        Reader(canonical_path, canonical_value, lambda name, value: read_value(name, value, test_file.parent), _option),
        model=model,
        repository=None if remote else repository_of(test_file, metafunc.config),
        batch_size=wish.loads["batch_size"][0],
        cores=_CORES_ELSEWHERE if remote else None,
    )


def _check_objective(by: Objective, model: str, wish: Wish) -> None:
    try:
        check_models(by.models, model, wish.beside)
    except UsageError as error:
        raise UsageError(f"objective {by.name!r}: {error.problem}", hint=error.hint) from None


def _option(name: str) -> str:
    from pytest_triton.server.options import check_option

    return check_option(name)


def _settings(search: SearchWish, config: pytest.Config) -> Settings:
    strategy, _ = options.setting(config, "strategy")
    return replace(search.settings, strategy=strategy) if strategy else search.settings  # type: ignore[arg-type]


def _expanded(test: list[str], cases: _Cases, found: Found, settings: Settings) -> Search:
    """Make a search with a test for each candidate."""
    expansion = found.expand()
    subjects = {point.id: cases.subject(point) for point in expansion.points}
    base = cases.base(next(iter(subjects.values())).load)
    check_cases(cases.rules, [cases.default(base), *subjects.values()], search=True)
    points = {point.id: cases.case(point, subjects[point.id]) for point in expansion.points}
    notes = [f"{found.note}, {len(points)} candidates"] if found.note else []
    key = digest([test, _names(settings), {point: case.key for point, case in points.items()}])
    return Search(key, settings, base, points, notes=(*notes, *_left_out(expansion)), make=cases.case)


def _proposed(test: list[str], cases: _Cases, found: Found, settings: Settings) -> Search:
    """Make a search with a test for each trial."""
    space = found.space
    if found.named:
        raise AxisError(
            "strategy='optuna' proposes combinations of axes, and these candidates are given whole",
            hint="Leave the strategy out: each of them is measured.",
        )
    loads = [cases.load(values) for values in space.loads()]
    base = cases.base(loads[0])
    subjects = [cases.subject(point) for rule in cases.rules for point in _meant(space, rule)]
    check_cases(cases.rules, [cases.default(base), *subjects], search=True)
    for load in loads:
        cases.slo(Subject("", {}, load))
    trials = settings.trials or TRIALS
    notes = [f"{space.size:,} points"]
    if space.size <= MOST_POINTS:
        expansion = space.expand()
        trials, notes = min(trials, len(expansion.points)), [f"{len(expansion.points):,} points", *_left_out(expansion)]
    settings = replace(settings, trials=trials)
    digits = max(2, len(str(trials)))
    names = [f"trial-{number:0{digits}}" for number in range(1, trials + 1)]
    key = digest([test, _names(settings), [[axis.path, *axis.labels] for axis in space.axes], base.key])
    notes = [found.note, *notes] if found.note else notes
    return Search(key, settings, base, dict.fromkeys(names, base), space, tuple(notes), make=cases.case)


def _left_out(expansion: Expansion) -> list[str]:
    told = tell(expansion.reasons)
    return [f"left out: {'; '.join(told)}"] if told else []


def _names(settings: Settings) -> list[str]:
    return [objective.name for objective in settings.objectives]


def _meant(space: Space, rule: Rule) -> Iterator[SpacePoint]:
    """Yield a point of the space for each of a rule's choices that means one."""
    for choice in rule.choices:
        point = space.find(choice) if isinstance(choice, str) else space.some(choice)
        if point is not None:
            yield point


class _Cases:
    """Makes the cases of one search. What candidates share is worked out once."""

    def __init__(self, wish: Wish, model: str, rules: tuple[Rule, ...], config: pytest.Config) -> None:
        self.rules = rules
        self._wish = wish
        self._model = model
        self._config = config
        tolerance = wish.search.settings.tolerance if wish.search is not None else {}
        self._inputs = replace(wish.inputs, tolerance=tolerance) if tolerance else wish.inputs
        self._said = triton_load() | {name: values[0] for name, values in wish.loads.items()}
        self._loads: dict[str, Load] = {}
        self._slos: dict[tuple[Any, ...], SLO] = {}

    def load(self, values: Mapping[str, Any]) -> Load:
        """Return the load with these fields. Raises ``UsageError`` when they contradict each other."""
        key = repr(values)
        if key not in self._loads:
            said = {name: value for name, value in self._said.items() if name not in values}
            self._loads[key] = make_load({**said, **values}, search=True)
        return self._loads[key]

    def base(self, first: Load) -> Case:
        """Return the default configuration's case. ``first`` is the load of the first candidate.

        Where the concurrency varies it is looked for.
        """
        varied = self._wish.search is not None and "concurrency" in (self._wish.search.axes or {})
        looked_for = varied or self._said["concurrency"] in (None, "auto")
        if looked_for and "concurrency" not in self._wish.expanded and not first.open_loop:
            first = replace(first, concurrency="auto")
        candidate = Candidate(self._model, composing=self._wish.others)
        case = Case(candidate, first, self._inputs, beside=self._wish.beside)
        return replace(case, slo=self.slo(self.default(case)))

    def default(self, base: Case) -> Subject:
        """Return whom the default configuration's SLO is looked for by."""
        return Subject(DEFAULT, {}, base.load)

    def subject(self, point: SpacePoint) -> Subject:
        """Return whom a candidate's SLO is looked for by."""
        return Subject(point.id, point.patch, self.load(point.load))

    def case(self, point: SpacePoint, subject: Subject | None = None) -> Case:
        """Return a candidate's case with its SLO."""
        subject = subject or self.subject(point)
        others = {**self._wish.others, **point.composing}
        candidate = Candidate(self._model, point.patch, point.server, others)
        return Case(candidate, subject.load, self._inputs, self.slo(subject), self._wish.beside)

    def slo(self, subject: Subject) -> SLO:
        """Return the SLO. Those that the same rules hold for under the same load have one. Raises ``MarkerError``."""
        key = (*(rule.weight(subject) for rule in self.rules), id(subject.load))
        if key not in self._slos:
            self._slos[key] = slo_of(self.rules, self._model, subject, self._config, self._wish.beside)
        return self._slos[key]
