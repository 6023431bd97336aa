"""Markers -> cases: what each collected test will measure, decided without a server, a GPU or a model file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.case import Candidate, Case, Load, digest
from pytest_triton.errors import MarkerError, PytestTritonError, UsageError
from pytest_triton.plugin import markers, options
from pytest_triton.plugin.keys import PLAN
from pytest_triton.plugin.loads import make_load, read_value, triton_load
from pytest_triton.plugin.markers import Wish
from pytest_triton.plugin.slos import rules_of, slo_of
from pytest_triton.slo_rules import DEFAULT, Rule, Subject, check_names

BEST = "best"


@dataclass(frozen=True, slots=True)
class Search:
    """A search that several collected tests share. ``points`` maps each candidate's id to its case."""

    key: str
    objective: str
    base: Case
    points: dict[str, Case]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one collected test measures: a case of its own, a candidate of a search, or the search's end.

    ``rules`` are what its SLO was made of, for a call that changes the load; ``id`` is what stands in its brackets.
    """

    case: Case
    point: str = ""
    search: Search | None = None
    rules: tuple[Rule, ...] = ()
    id: str = ""

    def with_load(self, load: Load, config: pytest.Config) -> Case:
        """Return the case with another load, and the SLO that holds for it. Raises ``MarkerError``."""
        candidate = self.case.candidate
        slo = slo_of(self.rules, candidate.model, Subject(self.id, candidate.patch, load), config)
        return replace(self.case, load=load, slo=slo)


def expand(metafunc: pytest.Metafunc, marks: list[pytest.Mark]) -> None:
    """Turn the markers of one test function into test cases. Problems are collection errors without a traceback."""
    try:
        definition = metafunc.definition
        wish = markers.read(marks, definition.path.parent, own=definition.own_markers)
        if wish.search is not None:
            _expand_search(metafunc, wish)
        elif PLAN in metafunc.fixturenames and wish.expanded:
            plans = list(_plans(wish, definition.path, metafunc.config))
            metafunc.parametrize(PLAN, plans, ids=[plan.id for plan in plans], indirect=True)
        elif PLAN in metafunc.fixturenames and not any(mark.name == "parametrize" for mark in marks):
            # A parametrized test may get its model from the marks of its parameters.
            list(_plans(wish, definition.path, metafunc.config))
        elif wish.expanded:
            raise MarkerError(
                "triton_load with a list of values needs the triton_perf fixture", hint="add triton_perf as an argument"
            )
    except PytestTritonError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None


def plan_of(node: pytest.Item) -> Plan:
    """Return the plan of a test that was not expanded, from all its markers, a parameter's own among them."""
    wish = markers.read(node.iter_markers(), node.path.parent, own=node.own_markers)
    if wish.expanded or wish.search is not None:
        raise MarkerError(
            "a list of loads and triton_search belong on the test function, its class or module",
            hint="a marker of one pytest.param can hold single values only",
        )
    (plan,) = _plans(wish, node.path, node.config)
    return plan


def model_of(wish: Wish, test_file: Path) -> str:
    """Return the model a test is about. Raises ``MarkerError`` when nothing says so."""
    if wish.model is not None:
        return wish.model
    from pytest_triton.repository.layout import is_model_folder

    if is_model_folder(test_file.parent):
        return test_file.parent.name
    raise MarkerError(
        "no model is named",
        hint=f'mark the test with @pytest.mark.triton_model("name"), or put {test_file.name} into the model\'s folder',
    )


def _plans(wish: Wish, test_file: Path, config: pytest.Config) -> Iterator[Plan]:
    from pytest_triton.search.labels import label_axes

    model = model_of(wish, test_file)
    rules = rules_of(wish, model, test_file, config)
    labels = label_axes({field: values for field, values in wish.loads.items() if field in wish.expanded})
    names = map("-".join, itertools.product(*labels.values()))
    loads = [wish.load(values) for values in wish.combinations()]
    subjects = [Subject(name, {}, load) for name, load in zip(names, loads, strict=True)]
    _check_names(rules, subjects, search=False)
    for subject in subjects:
        slo = slo_of(rules, model, subject, config)
        yield Plan(Case(Candidate(model), subject.load, wish.inputs, slo), rules=rules, id=subject.id)


def _check_names(rules: tuple[Rule, ...], subjects: list[Subject], *, search: bool) -> None:
    try:
        check_names(rules, subjects, search=search)
    except UsageError as error:
        raise MarkerError(error.problem, hint=error.hint) from None


def _expand_search(metafunc: pytest.Metafunc, wish: Wish) -> None:
    from pytest_triton.search.selection import objective

    assert wish.search is not None
    if PLAN not in metafunc.fixturenames:
        raise MarkerError("triton_search needs the triton_perf fixture", hint="add triton_perf as an argument")
    try:
        objective(wish.search.objective)
        search = _make_search(metafunc, wish)
    except PytestTritonError as error:
        raise MarkerError(f"triton_search: {error.problem}", hint=error.hint, details=error.details) from None
    search = _with_slos(search, wish, metafunc)
    plans = [Plan(case, point, search) for point, case in search.points.items()]
    plans.append(Plan(search.base, BEST, search))
    metafunc.parametrize(PLAN, plans, ids=[*search.points, BEST], indirect=True)


def _make_search(metafunc: pytest.Metafunc, wish: Wish) -> Search:
    from pytest_triton.repository.fields import canonical_path, canonical_value
    from pytest_triton.search.space import expand as expand_axes

    assert wish.search is not None
    axes: dict[str, Any] = dict(wish.search.axes)
    loads = dict(wish.loads)
    for field in wish.expanded:
        # A list in triton_load beside a search is one more axis of it.
        axes.setdefault(field, loads[field])
    single = {field: values[0] for field, values in loads.items() if field not in axes}
    base = Case(Candidate(model_of(wish, metafunc.definition.path)), Load(), wish.inputs)
    test_folder = metafunc.definition.path.parent
    points = {}
    for point in expand_axes(
        axes, canonical_path, canonical_value, lambda name, value: read_value(name, value, test_folder)
    ):
        candidate = replace(base.candidate, patch=point.patch)
        load = make_load({**triton_load(), **single, **point.load}, search=True)
        points[point.id] = replace(base, candidate=candidate, load=load)
    # The search's own load is the first one's; where the concurrency is looked for, also for the default.
    first = next(iter(points.values())).load
    if single.get("concurrency") in (None, "auto") and "concurrency" not in wish.expanded and not first.open_loop:
        first = replace(first, concurrency="auto")
    base = replace(base, load=first)
    key = digest([metafunc.definition.nodeid, wish.search.objective, [case.key for case in points.values()]])
    return Search(key, wish.search.objective, base, points)


def _with_slos(search: Search, wish: Wish, metafunc: pytest.Metafunc) -> Search:
    """Give every candidate, and the default configuration, the SLO that holds for it."""
    model = search.base.candidate.model
    rules = rules_of(wish, model, metafunc.definition.path, metafunc.config)
    cases = {DEFAULT: search.base, **search.points}
    subjects = {name: Subject(name, case.candidate.patch, case.load) for name, case in cases.items()}
    _check_names(rules, list(subjects.values()), search=True)
    with_slo = {
        name: replace(case, slo=slo_of(rules, model, subjects[name], metafunc.config)) for name, case in cases.items()
    }
    return replace(search, base=with_slo.pop(DEFAULT), points=with_slo)


def describe(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say after collection what the tests will run on. ``items`` are those that measure."""
    from pytest_triton.server.choice import resolve

    plans = [
        callspec.params[PLAN]
        for item in items
        if (callspec := getattr(item, "callspec", None))
        if PLAN in callspec.params
    ]
    searches = {plan.search.key for plan in plans if plan.search is not None}
    candidates = sum(1 for plan in plans if plan.search is not None and plan.point != BEST)
    cases = len(items) - candidates - sum(1 for plan in plans if plan.search is not None and plan.point == BEST)
    parts = [f"{cases} case{'s' * (cases > 1)}"] if cases else []
    if searches:
        parts.append(f"{len(searches)} search{'es' * (len(searches) > 1)} over {candidates} candidates")
    server, source = options.setting(config, "server")
    where = f"on server {resolve(server)} ({'auto' if server == 'auto' else source})"
    return [f"triton: {', '.join(parts)} {where}, one measurement at a time on a device"]
