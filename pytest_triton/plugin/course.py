"""How far a search has come in this run, for the line that says what is going on."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin import values
from pytest_triton.plugin.expansion import BEST, Plan
from pytest_triton.plugin.keys import PLAN
from pytest_triton.plugin.search_cases import Search
from pytest_triton.report.outlook import describe, lead
from pytest_triton.search.strategies.budget import for_candidates

if TYPE_CHECKING:
    from pytest_triton.plugin.perf import TritonPerf

_SELECTED: pytest.StashKey[dict[str, set[str]]] = pytest.StashKey()


def selected(session: pytest.Session, search: str) -> set[str]:
    """Name the candidates of a search whose tests are part of this run."""
    if _SELECTED not in session.stash:
        found: dict[str, set[str]] = defaultdict(set)
        for item in session.items:
            plan = item.callspec.params.get(PLAN) if hasattr(item, "callspec") else None
            if isinstance(plan, Plan) and plan.search is not None and plan.point != BEST:
                found[plan.search.key].add(plan.point)
        session.stash[_SELECTED] = found
    return session.stash[_SELECTED].get(search, set())


def time_left(perf: TritonPerf, search: Search) -> float | None:
    """Return how many seconds of ``--triton-budget`` a search has left, 0.0 at least; None where there is no end."""
    budget = values.duration(perf.state.config, "budget")
    return None if budget is None else max(budget - perf.state.searched(search.key), 0.0)


def outlook(perf: TritonPerf, search: Search) -> str:
    """Write which candidate leads, how many are left and for how long. Empty where nobody would see it."""
    state = perf.state
    if not state.progress.visible:
        return ""
    records = state.so_far(search.key)
    if perf.plan.point == BEST:
        best = lead(records)
        return f"leads: {best}" if best else ""
    left = selected(perf.node.session, search.key) - {record.turn for record in records}
    budget, seconds = values.duration(state.config, "budget"), time_left(perf, search)
    if budget is not None and seconds is not None:
        seconds -= budget - for_candidates(budget)
    return describe(records, left=len(left), seconds=seconds)
