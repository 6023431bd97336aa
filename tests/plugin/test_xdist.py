"""Workers find the same as one process, and two never measure at a time. Of searches: ``test_long_searches.py``."""

from __future__ import annotations

import json
from itertools import pairwise

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


def test_workers_find_what_one_process_finds(run, pytester):
    found = {}
    for name, arguments in {"alone": [], "workers": ["-n", "2"]}.items():
        result = run(GATES, "--triton-json=found.json", f"--triton-store={name}.db", *arguments)
        result.assert_outcomes(passed=3, failed=1)
        result.stdout.fnmatch_lines(["triton: *one measurement at a time*"])
        cases = json.loads((pytester.path / "found.json").read_text())["cases"]
        found[name] = {case["id"]: (case["key"], case["verdict"]) for case in cases}
    assert found["alone"] == found["workers"]
    assert [verdict for _, verdict in found["alone"].values()].count("FAIL") == 1
    assert {(pytester.path / ".triton" / worker).is_dir() for worker in ("gw0", "gw1")} == {True}
    # A gate's measurement is in one piece: its seconds are all that passed.
    records = Store(Place(path=pytester.path / "workers.db")).history("identity")
    spans = sorted((r.effort["began"], r.effort["began"] + r.effort["seconds"]) for r in records)
    assert len(spans) == 4
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
