"""The same results with workers as without, and never two measurements at a time."""

from __future__ import annotations

import json
from itertools import pairwise

from python_models import write_model

from pytest_triton.results.place import Place
from pytest_triton.results.store import Store

GATES = """
pytestmark = pytest.mark.triton_load(concurrency=2)


@pytest.mark.triton_slo(p95="2s")
def test_kept(triton_perf):
    triton_perf()


@pytest.mark.triton_slo(throughput="1000000/s")
def test_missed(triton_perf):
    triton_perf()


@pytest.mark.triton_load(concurrency=[1, 4])
def test_throughput(triton_perf):
    triton_perf()
"""
SEARCH = """import pytest

@pytest.mark.triton_search({"instance_group.count": [1, 4]})
@pytest.mark.triton_load(concurrency=8)
def test_best(triton_perf):
    triton_perf()
"""


def test_workers_find_what_one_process_finds(run, pytester, repository):
    """A model that answers at once has gates; one whose requests take 10 ms each gains by instances alone."""
    unbatched = "from time import sleep; [sleep(0.01) for _ in requests]"
    folder = write_model(repository, "slow", execute=unbatched, dims="[ 4 ]")
    (folder / "test_slow.py").write_text(SEARCH)
    found = {}
    for name, arguments in {"alone": [], "workers": ["-n", "2"]}.items():
        result = run(GATES, "--triton-json=found.json", f"--triton-store={name}.db", *arguments)
        result.assert_outcomes(passed=6, failed=1)
        result.stdout.fnmatch_lines(["triton: *one measurement at a time*"])
        found[name] = json.loads((pytester.path / "found.json").read_text())
    assert {(pytester.path / ".triton" / worker).is_dir() for worker in ("gw0", "gw1")} == {True}
    alone, workers = found["alone"], found["workers"]
    verdicts, keys = (
        [{case["id"]: case[field] for case in each["cases"]} for each in (alone, workers)]
        for field in ("verdict", "key")
    )
    assert len(verdicts[0]) == 7
    assert verdicts[0] == verdicts[1]
    assert keys[0] == keys[1]
    assert list(verdicts[0].values()).count("FAIL") == 1
    for each in (alone, workers):
        (search,) = each["searches"]
        assert search["configuration"] == {"instance_group.count": 4}
        assert search["measured"] == search["candidates"] == 2
        assert search["gain"]["low"] > 0.5
    # Measurements of a gate are in one piece: their seconds are all that passed.
    records = Store(Place(path=pytester.path / "workers.db")).history("identity")
    spans = sorted((r.effort["began"], r.effort["began"] + r.effort["seconds"]) for r in records)
    assert len(spans) == 4
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
