"""Candidates that Optuna proposes: whatever the sampler and the storage, a study ends, and nothing comes twice."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from databases import postgresql

from pytest_triton.errors import OptionError
from pytest_triton.metrics import Estimate
from pytest_triton.repository.fields import canonical_path, canonical_value
from pytest_triton.search.axes import read_axes
from pytest_triton.search.names import Reader
from pytest_triton.search.objective import objectives
from pytest_triton.search.selection import Result, Status
from pytest_triton.search.settings import Settings
from pytest_triton.search.space import Space
from pytest_triton.search.strategies.optuna import Proposals, StudyError, Told
from pytest_triton.search.strategies.storage import open_storage
from pytest_triton.slo import SLO

READER = Reader(canonical_path, canonical_value, lambda name, value: value)
SPACE = Space(
    read_axes(
        {
            "instance_group.count": [1, 2, 3, 4],
            "dynamic_batching": [None, {}],
            "dynamic_batching.max_queue_delay_microseconds": [0, 100, 1000],
            "parameters.precision": ["fp32", "fp16"],
        },
        READER,
    )
)
POINTS = 4 * 2 * (1 + 3)
P99 = SLO.parse({"p99": "10ms"})


def settings(**others):
    return Settings(objectives(others.pop("objective", "throughput")), strategy="optuna", **{"trials": 16, **others})


def count(point):
    return point.patch["instance_group.count"]


def figures_of(point):
    """Return throughput and p99: best with three instances, batching and half precision, where the SLO is kept."""
    instances = count(point)
    delay = point.patch.get("dynamic_batching.max_queue_delay_microseconds", 0)
    value = 100 * min(instances, 3) + 50 * ("dynamic_batching.max_queue_delay_microseconds" in point.patch)
    value += 40 * (point.patch["parameters.precision"] == "fp16") + 200 * (instances == 4)
    p99 = 0.004 + 0.008 * (instances == 4) + delay / 1e6
    return value, p99


def measure(point, figures):
    throughput, p99 = figures(point)
    metrics = {"throughput": Estimate(throughput), "p99": Estimate(p99)}
    return Result(point.id, point.patch, Status.MEASURED, metrics=metrics)


def search(proposals, number, results=(), figures=figures_of):
    """Ask for ``number`` candidates, and return what was measured."""
    known = {result.id: result for result in results}
    for _ in range(number):
        told = {name: Told.of(result, proposals.settings, proposals.slo) for name, result in known.items()}
        proposal = proposals.ask(told)
        if proposal is None:
            break
        assert proposal.point.id not in known
        known[proposal.point.id] = measure(proposal.point, figures)
        proposals.tell(proposal, Told.of(known[proposal.point.id], proposals.settings, proposals.slo))
    return list(known.values())


_PLACES = (("slo", SLO()), ("storage", None), ("run", "one"), ("worker", 0))


def proposals(**others):
    slo, storage, run, worker = (others.pop(*each) for each in _PLACES)
    return Proposals(SPACE, settings(**others), slo, "m", run=run, storage=storage, worker=worker)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_candidate_is_proposed_once_and_then_none(sampler):
    results = search(proposals(sampler=sampler), 100)
    assert len(results) == len({result.id for result in results}) == POINTS


def test_tpe_finds_what_keeps_the_slo_in_less_than_half_of_the_space():
    for seed in range(3):
        kept = [r for r in search(proposals(slo=P99, seed=seed), POINTS // 2) if r.metrics["p99"].value <= 0.01]
        assert max(result.metrics["throughput"].value for result in kept) >= 350


def test_an_slo_keeps_tpe_from_what_is_best_but_misses_it():
    axes = {"instance_group.count": [*range(1, 9)], "max_batch_size": [1, 2, 4, 8], "parameters.a": [*"abcd"]}
    space = Space(read_axes(axes, READER))
    kept = {}
    for slo in (P99, SLO()):
        study = Proposals(space, settings(trials=40), slo, "m")
        results = search(study, 40, figures=lambda point: (100 * count(point), 0.003 * count(point)))
        kept[slo] = sum(result.metrics["p99"].value <= 0.01 for result in results)
    assert kept[P99] > 1.5 * kept[SLO()]


@pytest.mark.skipif(find_spec("torch") is None, reason="the sampler needs PyTorch")
def test_gp_proposes():
    assert len(search(proposals(sampler="gp", slo=P99), 8)) == 8


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_gp_says_what_it_needs():
    with pytest.raises(OptionError, match="sampler='gp' needs PyTorch"):
        proposals(sampler="gp")


def test_the_same_seed_proposes_the_same():
    one, other, another = (search(proposals(seed=seed), 6) for seed in (1, 1, 2))
    assert [each.id for each in one] == [each.id for each in other] != [each.id for each in another]


def test_several_objectives():
    study = proposals(objective=["throughput", "p99"])
    assert len(search(study, 12)) == 12


def test_what_an_earlier_run_measured_is_not_proposed_again():
    earlier = search(proposals(), 10)
    results = search(proposals(seed=5), 100, earlier)
    assert len(results) == POINTS


def test_what_was_not_measured_is_told_too():
    study = proposals(slo=P99)
    proposal = study.ask({})
    failed = Result(proposal.point.id, proposal.point.patch, Status.UNLOADABLE, "no such kind")
    told = Told.of(failed, study.settings, P99)
    study.tell(proposal, told)
    assert told.values is None
    assert study.ask({proposal.point.id: told}).point.id != proposal.point.id


@pytest.fixture(params=["study.journal", "study.log", "study.db", "sqlite", "postgresql"])
def storage(request, tmp_path):
    """Where a study may be kept."""
    if request.param == "postgresql":
        with postgresql() as server:
            yield server.new_database()
    else:
        yield f"sqlite:///{tmp_path}/url.db" if request.param == "sqlite" else str(tmp_path / "new" / request.param)


def test_processes_share_a_study(storage):
    one, other = proposals(storage=storage), proposals(storage=storage, worker=1)
    assert one.name == other.name
    taken = set()
    for study in (one, other) * 4:
        proposal = study.ask({})
        # Nothing was told yet: what the other one measures now is not measured twice.
        assert proposal.point.id not in taken
        taken.add(proposal.point.id)


def test_another_run_may_measure_the_same_again(tmp_path):
    storage = str(tmp_path / "study.journal")
    search(proposals(storage=storage), 6)
    assert len(search(proposals(storage=storage, run="two", seed=9), 4)) == 4


def test_a_storage_that_is_none():
    with pytest.raises(OptionError, match=r"storage='study\.txt' is no place for a study"):
        open_storage("study.txt")


def test_a_storage_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(StudyError, match=r"the study in postgresql://me@localhost:1/x cannot be used") as caught:
        proposals(storage="postgresql://me:secret@localhost:1/x")
    assert "secret" not in str(caught.value)
