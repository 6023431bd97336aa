"""Markers -> cases: what each collected test will measure, decided without a server, a GPU or a model file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.errors import MarkerError, PytestTritonError
from pytest_triton.plugin import markers, options
from pytest_triton.plugin.keys import PLAN, TURNS
from pytest_triton.plugin.markers import Wish
from pytest_triton.plugin.models import model_of
from pytest_triton.plugin.slos import check_cases, rules_of, slo_of
from pytest_triton.slo_rules import Rule, Subject

if TYPE_CHECKING:
    from pytest_triton.plugin.search_cases import Search

BEST = "best"


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
        slo = slo_of(self.rules, candidate.model, Subject(self.id, candidate.patch, load), config, self.case.beside)
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


def _plans(wish: Wish, test_file: Path, config: pytest.Config) -> Iterator[Plan]:
    from pytest_triton.search.labels import label_axes

    model = model_of(wish, test_file)
    rules = rules_of(wish, model, test_file, config)
    labels = label_axes({field: values for field, values in wish.loads.items() if field in wish.expanded})
    names = map("-".join, itertools.product(*labels.values()))
    loads = [wish.load(values) for values in wish.combinations()]
    subjects = [Subject(name, {}, load) for name, load in zip(names, loads, strict=True)]
    check_cases(rules, subjects)
    for subject in subjects:
        slo = slo_of(rules, model, subject, config, wish.beside)
        candidate = Candidate(model, composing=wish.others)
        case = Case(candidate, subject.load, wish.inputs, slo, wish.beside)
        yield Plan(case, rules=rules, id=subject.id)


def _expand_search(metafunc: pytest.Metafunc, wish: Wish) -> None:
    from pytest_triton.plugin.search_cases import make_search

    if PLAN not in metafunc.fixturenames:
        raise MarkerError("triton_search needs the triton_perf fixture", hint="add triton_perf as an argument")
    search = make_search(metafunc, wish)
    plans = [Plan(case, point, search) for point, case in search.points.items()]
    plans.append(Plan(search.base, BEST, search))
    metafunc.parametrize(PLAN, plans, ids=[*search.points, BEST], indirect=True)


def describe(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say after collection what the tests will run on. ``items`` are those that measure."""
    plans = _plans_of(items)
    searches = _searches_of(plans)
    candidates = sum(1 for plan in plans if plan.search is not None and plan.point != BEST)
    cases = len(items) - candidates - sum(1 for plan in plans if plan.search is not None and plan.point == BEST)
    parts = [f"{cases} case{'s' * (cases > 1)}"] if cases else []
    if searches:
        many = f"{len(searches)} search{'es' * (len(searches) > 1)}"
        over = f"{many} over {candidates:,} candidate{'s' * (candidates > 1)}"
        parts.append(over if candidates else f"the end of {many}")
    server, source = options.setting(config, "server")
    chosen = f"server {options.server_kind(config)} ({'auto' if server == 'auto' else source})"
    notes = [f"triton: {note}" for note in notes_on(items)]
    return [f"triton: {', '.join(parts)} on {chosen}, {TURNS}", *notes]


def notes_on(items: list[pytest.Item]) -> list[str]:
    """Say what is to be known of the spaces of the searches that tests belong to."""
    searches = _searches_of(_plans_of(items)).values()
    return [f"search of {search.base.candidate.model}: {note}" for search in searches for note in search.notes]


def _plans_of(items: list[pytest.Item]) -> list[Plan]:
    specs = [getattr(item, "callspec", None) for item in items]
    return [spec.params[PLAN] for spec in specs if spec is not None and PLAN in spec.params]


def _searches_of(plans: list[Plan]) -> dict[str, Search]:
    return {plan.search.key: plan.search for plan in plans if plan.search is not None}
