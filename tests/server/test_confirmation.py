"""The end of a search on a real server: finalists and the default in alternation, ties, SLOs, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from python_models import write_model

from pytest_triton import confirmation
from pytest_triton.bench import Bench
from pytest_triton.blocks import Pace
from pytest_triton.case import Candidate, Case, Inputs, Load, Value
from pytest_triton.confirmation import Winner, confirm
from pytest_triton.load import WireEngine
from pytest_triton.metrics import METRICS, Better, Estimate
from pytest_triton.protocol import Effort
from pytest_triton.search.objective import objective
from pytest_triton.search.selection import Result, Status
from pytest_triton.server import EmbeddedServer
from pytest_triton.slo import SLO, Bound
from pytest_triton.verdict import Outcome

THROUGHPUT = objective("throughput")
CONFIGURATION = """backend: "python"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
"""
INITIALIZE = """import json
        parameters = json.loads(args["model_config"])["parameters"]
        self.seconds = float(parameters["seconds"]["string_value"]) if parameters else 0.02"""
CASE = Case(Candidate("sleeping"), Load(concurrency=4), Inputs({"X": (4,)}))
SHORT = Effort(warmup=0.2, seconds=0.5, limit=5.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tmp_path_factory.mktemp("repository")
    sleep = "import time; time.sleep(self.seconds)"
    write_model(repository, "sleeping", initialize=INITIALIZE, execute=sleep, configuration=CONFIGURATION, dims="[ 4 ]")
    running = EmbeddedServer(
        repository, output=tmp_path_factory.mktemp("server"), arguments=["--disable-auto-complete-config"]
    )
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def bench(server: EmbeddedServer) -> Bench:
    """One for all tests: what Triton completes once, it does not give back any more when others were loaded since."""
    return Bench(server, WireEngine())


@pytest.fixture(autouse=True)
def _in_short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACE", "_PACE_IN_TURN"):
        monkeypatch.setattr(confirmation, name, Pace(seconds=0.1, warmup=0.05, requests=4))


def end(
    bench: Bench,
    patches: Mapping[str, Mapping[str, Value]],
    slo: SLO | None = None,
    concurrency: Mapping[str, int] | None = None,
) -> Winner:
    """Confirm candidates that by their first figures, all of them the same, may all win."""
    loads = {name: replace(CASE.load, concurrency=(concurrency or {}).get(name, 4)) for name in patches}
    case = replace(CASE, slo=slo or SLO())
    cases = {name: replace(case, candidate=Candidate("sleeping", patch)) for name, patch in patches.items()}
    metrics = {"throughput": Estimate(100, 90, 110), "rss": Estimate(float(2**28))}
    results = [
        Result(name, patch, Status.MEASURED, "", loads[name], int(str(patch.get("instance_group.count", 1))), metrics)
        for name, patch in patches.items()
    ]
    winner = confirm(bench, case, results, THROUGHPUT, cases=cases, effort=SHORT, patience=0.0)
    assert winner is not None
    return winner


def test_the_best_of_several_wins_with_its_gain_and_nothing_stays_behind(bench: Bench, server: EmbeddedServer) -> None:
    two: dict[str, Value] = {"instance_group.count": 2}
    three: dict[str, Value] = {"instance_group.count": 3, "parameters.seconds": "0.05"}
    winner = end(bench, {"i3": three, "i2": two, "slow": {"parameters.seconds": "0.05"}})
    assert winner.result is not None
    assert (winner.result.id, winner.tie, winner.rivals) == ("i2", False, ())
    assert winner.gain.low is not None
    assert winner.gain.low > 0
    assert set(winner.gains) == {"i2", "i3", "slow"}
    assert winner.default is not None
    assert winner.default.metrics["throughput"].value < winner.measurement.metrics["throughput"].value
    # Its memory is from when it was loaded alone.
    assert winner.measurement.metrics["rss"].value == 2**28
    assert winner.default.metrics["rss"].value > 0
    assert winner.configuration.name == "sleeping"
    assert [model["name"] for model in server.control.index() if model.get("state") == "READY"] == ["sleeping"]


def test_a_tie_goes_to_the_cheaper_and_the_default_stays_where_nothing_is_better(bench: Bench) -> None:
    # Four requests are under way, so that the fifth instance is one too many.
    same = {"four": {"instance_group.count": 4}, "five": {"instance_group.count": 5}}
    winner = end(bench, same)
    assert winner.result is not None
    assert winner.result.id == "four"
    assert set(winner.rivals) <= {"five"}
    stays = end(bench, {"slower": {"parameters.seconds": "0.03"}})
    assert stays.result is None
    assert stays.verdict.outcome is Outcome.PASS
    assert stays.rejected[0].startswith("slower: -")


def test_who_misses_the_slo_is_rejected_and_the_next_takes_over(bench: Bench) -> None:
    slo = SLO((Bound(METRICS["p50"], Better.LOWER, 0.03),))
    fast, keeps = {"instance_group.count": 4}, {"instance_group.count": 2}
    winner = end(bench, {"fast": fast, "keeps": keeps}, slo, {"fast": 8, "keeps": 2})
    assert winner.result is not None
    assert winner.result.id == "keeps"
    assert winner.verdict.outcome is Outcome.PASS
    assert winner.rejected[0].startswith("fast: p50 <= 30.0 ms: missed")


def test_what_cannot_be_loaded_at_once_is_loaded_in_turn(
    bench: Bench, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "alias", lambda model, number=1: None)
    monkeypatch.setattr(confirmation, "_LOOKS_IN_TURN", (6,))
    winner = end(bench, {"i2": {"instance_group.count": 2}})
    assert winner.result is not None
    assert winner.result.id == "i2"
    assert winner.gain.low is not None
    assert winner.gain.low > 0


def test_a_candidate_that_is_the_default_is_not_compared_with_itself(bench: Bench) -> None:
    winner = end(bench, {"i1": {"instance_group.count": 1}})
    assert winner.result is None
    assert winner.default is None
    assert winner.measurement.metrics["throughput"].value > 0
