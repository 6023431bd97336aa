"""What a run leaves in the store, and what becomes of it when the store fails."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_triton.results.place import Place
from pytest_triton.results.sketch import read_latencies
from pytest_triton.results.store import Store
from pytest_triton.server.ports import choose_ports

PERF = "def test_it(triton_perf):\n    triton_perf()\n"
SEARCH = """
@pytest.mark.triton_search({"instance_group.count": [1, 2]}, objective="throughput")
@pytest.mark.triton_load(concurrency=1)
def test_best(triton_perf):
    triton_perf()
"""
QUICK = "--triton-max-duration=1s"


def kept(path: Path) -> Store:
    return Store(Place(path=path))


def test_every_run_adds_records_that_say_where_and_of_what_they_are(run, pytester):
    for _ in range(2):
        run(PERF, QUICK).assert_outcomes(passed=1)
    first, second = kept(pytester.path / ".triton" / "results.db").history("identity", latencies=True)
    assert first.run != second.run
    for record in (first, second):
        assert record.verdict == "PASS"
        assert record.fingerprint["server"].startswith("embedded Triton 2.")
        assert record.fingerprint["triton"].startswith("2.")
        assert record.fingerprint["engine"] == "wire"
        latencies = read_latencies(record.latencies)
        assert latencies is not None
        assert latencies.requests == record.requests
        assert latencies.quantile(0.5) == pytest.approx(record.measurement["p50"]["value"], rel=0.02)
    assert first.fingerprint == second.fingerprint
    assert first.applied == second.applied != ""
    assert first.model_files == second.model_files != ""
    command = [str(Path(sys.executable).with_name("pytest-triton")), "history", "identity"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=pytester.path).stdout
    assert "models/identity/test_identity.py::test_it\n" in shown
    assert shown.count("  PASS  ") == 2


def test_a_store_of_ones_own(run, pytester):
    pytester.makeini("[pytest]\ntriton_store = sqlite:///kept/all.db\n")
    result = run(PERF, "--triton-smoke")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["triton: store (ini), smoke (command line)"])
    assert len(kept(pytester.path / "kept" / "all.db").history("identity")) == 1
    assert not (pytester.path / ".triton" / "results.db").exists()


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("mysql://ci:secret@db/x", "*--triton-store: records cannot be stored in mysql://...: valid names: *"),
        ("postgresql://ci:secret@db:x/y", "*--triton-store: postgresql://... is no address of a database*"),
    ],
)
def test_a_wrong_url_is_said_before_anything_is_measured(run, store, told):
    result = run(PERF, f"--triton-store={store}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    assert "secret" not in str(result.stderr) + str(result.stdout)


def spoil(path: Path) -> None:
    path.write_bytes(b"this is no store " * 1000)


def age(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE triton_schema (version INTEGER)")
        connection.execute("INSERT INTO triton_schema VALUES (99)")


@pytest.mark.parametrize(
    ("trouble", "told"), [(spoil, "is no SQLite database, or corrupt"), (age, "has schema 99, and this version")]
)
def test_a_store_that_fails_loses_nothing(run, pytester, trouble, told):
    trouble(pytester.path / "own.db")
    before = (pytester.path / "own.db").read_bytes()
    result = run(PERF, "--triton-smoke", "--triton-store=own.db", "--triton-json=found.json")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["identity:", "  Concurrency: 1, *", f"triton: the store */own.db {told}*", "  *or name another store with *"]
    )
    (case,) = json.loads((pytester.path / "found.json").read_text())["cases"]
    (unsaved,) = (pytester.path / ".triton").glob("unsaved-*.db")
    result.stdout.fnmatch_lines([f"  pytest-triton history MODEL --store {unsaved}"])
    assert [record.id for record in kept(unsaved).history("identity")] == [case["id"]]
    assert (pytester.path / "own.db").read_bytes() == before


def test_workers_of_xdist_find_each_others_records_without_the_store(run, pytester):
    (port,) = choose_ports(1)
    url = f"postgresql://ci:secret@127.0.0.1:{port}/results"
    result = run(SEARCH, QUICK, "-n2", f"--triton-store={url}", "--triton-json=found.json")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [f"triton: cannot reach the store postgresql://ci:[*][*][*]@127.0.0.1:{port}/results: *"]
    )
    assert "secret" not in str(result.stdout)
    assert str(result.stdout).count("cannot reach the store") == 1
    found = json.loads((pytester.path / "found.json").read_text())
    assert found["searches"][0]["measured"] == 2
    (unsaved,) = (pytester.path / ".triton").glob("unsaved-*.db")
    assert len(kept(unsaved).history("identity", candidates=True)) == 3
