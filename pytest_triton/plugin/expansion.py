"""Markers -> cases: what each collected test will measure, decided without a server, a GPU or a model file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.case import Candidate, Case, Load, digest
from pytest_triton.errors import MarkerError, PytestTritonError
from pytest_triton.plugin import markers, options
from pytest_triton.plugin.keys import PLAN
from pytest_triton.plugin.loads import make_load, read_value, triton_load
from pytest_triton.plugin.markers import Wish

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
    """What one collected test measures: a case of its own, a candidate of a search, or the search's end."""

    case: Case
    point: str = ""
    search: Search | None = None


def expand(metafunc: pytest.Metafunc, marks: list[pytest.Mark]) -> None:
    """Turn the markers of one test function into test cases. Problems are collection errors without a traceback."""
    try:
        wish = markers.read(marks, metafunc.definition.path.parent)
        if wish.search is not None:
            _expand_search(metafunc, wish)
        elif PLAN in metafunc.fixturenames and wish.expanded:
            cases = dict(_cases(wish, metafunc.definition.path))
            metafunc.parametrize(PLAN, [Plan(case) for case in cases.values()], ids=list(cases), indirect=True)
        elif PLAN in metafunc.fixturenames and not any(mark.name == "parametrize" for mark in marks):
            # A parametrized test may get its model from the marks of its parameters.
            model_of(wish, metafunc.definition.path)
        elif wish.expanded:
            raise MarkerError(
                "triton_load with a list of values needs the triton_perf fixture", hint="add triton_perf as an argument"
            )
    except PytestTritonError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None


def plan_of(node: pytest.Item) -> Plan:
    """Return the plan of a test that was not expanded, from all its markers, a parameter's own among them."""
    wish = markers.read(node.iter_markers(), node.path.parent)
    if wish.expanded or wish.search is not None:
        raise MarkerError(
            "a list of loads and triton_search belong on the test function, its class or module",
            hint="a marker of one pytest.param can hold single values only",
        )
    (_, case), *_ = _cases(wish, node.path)
    return Plan(case)


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


def _cases(wish: Wish, test_file: Path) -> Iterator[tuple[str, Case]]:
    from pytest_triton.search.labels import label_axes

    model = model_of(wish, test_file)
    labels = label_axes({field: values for field, values in wish.loads.items() if field in wish.expanded})
    names = map("-".join, itertools.product(*labels.values()))
    for name, values in zip(names, wish.combinations(), strict=True):
        yield name, Case(Candidate(model), wish.load(values), wish.inputs, wish.slo)


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
    base = Case(Candidate(model_of(wish, metafunc.definition.path)), Load(), wish.inputs, wish.slo)
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
    return [f"triton: {', '.join(parts)} on server {resolve(server)} ({'auto' if server == 'auto' else source})"]
