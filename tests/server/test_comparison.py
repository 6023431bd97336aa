"""Two configurations of a model in alternation on a real server."""

from collections.abc import Callable, Iterator

import pytest
from python_models import write_model
from serving import serve

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.compare import Comparison, Contender, compare, judge_change
from pytest_triton.deployment import Deployer
from pytest_triton.load import WireEngine
from pytest_triton.metrics import METRICS, Estimate
from pytest_triton.server import EmbeddedServer
from pytest_triton.verdict import Outcome

PARAMETERS = """import json
        parameters = json.loads(args["model_config"])["parameters"]
        self.seconds = float(parameters["seconds"]["string_value"]) if parameters else 0.002"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "sleeping", initialize=PARAMETERS, execute="import time; time.sleep(self.seconds)")
    with serve(repository, tmp_path_factory.mktemp("server"), "sleeping") as running:
        yield running


def run(
    server: EmbeddedServer, patch: dict[str, str], settled: Callable[[Estimate], bool], pairs: int, looks: int
) -> Comparison:
    """Compare the model with ``patch`` to what it is without."""
    deployer = Deployer(server)
    first, second = (
        Case(Candidate("sleeping", each), Load(concurrency=1), Inputs({"X": (4,)})) for each in ({}, patch)
    )
    alias = server.alias("sleeping")
    assert alias is not None
    try:
        return compare(
            server,
            WireEngine(),
            deployer,
            Contender(first, lambda: deployer.deploy(first.candidate)),
            Contender(second, lambda: deployer.deploy(second.candidate, name=alias)),
            METRICS["mean"],
            pairs=pairs,
            looks=looks,
            settled=settled,
            seconds=0.1,
        )
    finally:
        deployer.remove(alias)


def test_what_is_clearly_slower_is_found_at_the_first_look(server: EmbeddedServer) -> None:
    by = METRICS["mean"]
    patch = {"parameters.seconds": "0.03"}
    found = run(server, patch, lambda gain: judge_change(gain, by) is not Outcome.INCONCLUSIVE, 8, 3)
    assert judge_change(found.gain, by) is Outcome.FAIL
    assert found.pairs == 8
    assert found.second.metrics["mean"].value >= 0.03 > found.first.metrics["mean"].value


def test_an_undecided_comparison_doubles_its_pairs_to_the_last_look(server: EmbeddedServer) -> None:
    seen: list[Estimate] = []

    def never(gain: Estimate) -> bool:
        seen.append(gain)
        return False

    found = run(server, {}, never, 1, 3)
    assert found.pairs == 4
    assert len(seen) == 3
    assert seen[-1] == found.gain
