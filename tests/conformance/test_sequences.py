"""Sequences are well formed as the model saw them: its diary says."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_triton.load import Engine, Plan, Request, RequestSet
from pytest_triton.load.turns import name_sequence
from pytest_triton.observation import OK
from pytest_triton.server import EmbeddedServer

MakePlan = Callable[..., Plan]


def read_diary(triton: EmbeddedServer, model: str, since: int) -> dict[str, list[tuple[int, int, float]]]:
    """What the model saw of each correlation id: start, end and value of each request, in order."""
    seen = defaultdict(list)
    for line in diary(triton, model).read_text().splitlines()[since:]:
        number, start, end, value = line.split()
        seen[number].append((int(start), int(end), float(value)))
    return seen


def diary(triton: EmbeddedServer, model: str) -> Path:
    assert triton.repository is not None
    return triton.repository / model / "diary"


@pytest.mark.parametrize(
    ("model", "load"),
    [
        ("direct", {"sequence_length": (2, 5), "concurrency": 3}),
        ("oldest", {"sequence_length": 4, "concurrency": 3}),
        ("named", {"sequence_length": (1, 3), "concurrency": 2}),
        ("direct", {"sequence_length": 3, "concurrency": 4, "rate": 200.0}),
    ],
    ids=["direct", "oldest", "named", "open-loop"],
)
def test_sequences_are_well_formed(
    engine: Engine, make_plan: MakePlan, triton: EmbeddedServer, model: str, load: dict[str, object]
) -> None:
    plan = make_plan(model, load=load, workers=2, string_ids=model == "named")
    since = len(diary(triton, model).read_text().splitlines())
    with engine.open(plan) as session:
        if session.shortest:
            pytest.skip("cuts off the sequences under way when its run ends")
        session.start()
        traces = [session.collect(seconds=0.3, requests=20), session.stop()]
    seen = read_diary(triton, model, since)

    length = plan.load.sequence_length
    low, high = length if isinstance(length, tuple) else (length, length)
    assert all((trace.status == OK).all() for trace in traces), traces[0].reasons
    assert sum(map(len, traces)) == sum(map(len, seen.values()))
    ids = np.concatenate([trace.sequence for trace in traces])
    assert {name_sequence(number) if plan.string_ids else str(number) for number in ids} == set(seen)
    for steps in seen.values():
        assert [start for start, _, _ in steps] == [1] + [0] * (len(steps) - 1)
        assert [end for _, end, _ in steps] == [0] * (len(steps) - 1) + [1]
        assert len(steps) <= high
    # All but those that the end of the load cut short.
    assert sum(len(steps) < low for steps in seen.values()) <= plan.load.concurrency


def test_as_many_sequences_are_under_way_as_asked(engine: Engine, make_plan: MakePlan) -> None:
    with engine.open(make_plan("direct", load={"sequence_length": 4, "concurrency": 3})) as session:
        session.start()
        trace = session.collect(seconds=0.3, requests=60)
    assert trace.sequence is not None
    lengths = np.unique(trace.sequence, return_counts=True)[1]
    assert lengths.max() == 4
    assert (lengths < 4).sum() <= 6
    begins = [(trace.sent[trace.sequence == number].min(), 1) for number in np.unique(trace.sequence)]
    ends = [(trace.done[trace.sequence == number].max(), -1) for number in np.unique(trace.sequence)]
    assert max(np.cumsum([step for _, step in sorted(begins + ends)])) == 3


def test_each_sequence_takes_the_next_stream(engine: Engine, make_plan: MakePlan, triton: EmbeddedServer) -> None:
    plan = make_plan("direct", load={"sequence_length": 3, "concurrency": 1})
    requests = tuple(
        Request("direct", {"X": np.full((1, 1), value, np.float32)}, {"X": "FP32"})
        for value in (10, 11, 12, 20, 21, 22)
    )
    plan = replace(plan, requests=RequestSet(requests, ((0, 1, 2), (3, 4, 5))))
    since = len(diary(triton, "direct").read_text().splitlines())
    with engine.open(plan) as session:
        session.start()
        session.collect(seconds=0.1, requests=30)
        session.stop()
    whole = [steps for steps in read_diary(triton, "direct", since).values() if len(steps) == 3]
    values = [tuple(value for _, _, value in steps) for steps in whole]
    assert set(values) == {(10, 11, 12), (20, 21, 22)}
    # Perf Analyzer draws them.
    assert session.shortest or all(earlier != later for earlier, later in itertools.pairwise(values))
