"""``pytest-triton history``: what it shows, where it looks, how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_triton.command import main
from pytest_triton.command.settings import find_place
from pytest_triton.report.history import Style, spark, write
from pytest_triton.results.place import Place
from pytest_triton.results.record import Record
from pytest_triton.results.store import Store

NOW = time.mktime((2026, 11, 25, 17, 0, 0, 0, 0, -1))
DAY = 86400.0
TEST = "models/detector/test_detector.py::test_meets_its_slo[c4]"
MACHINE = {"cpu": "AMD EPYC", "cores": 2, "triton": "2.51.0"}


def measured(p99: float | None, throughput: float) -> dict[str, dict[str, float | str | None]]:
    """Return a measurement with intervals of 10 % to both sides."""
    ends = {"low": None if p99 is None else p99 * 0.9, "high": None if p99 is None else p99 * 1.1}
    return {
        "throughput": {"value": throughput, "low": throughput * 0.9, "high": throughput * 1.1, "unit": "1/s"},
        "p99": {"value": p99, **ends, "unit": "s"},
    }


def record(days: float, p99: float | None = 0.0253, throughput: float = 123.4, **others) -> Record:
    values = {
        "id": TEST,
        "key": "k",
        "model": "detector",
        "configuration": {},
        "load": {"concurrency": 4, "batch_size": 1, "protocol": "http"},
        "slo": {"p99": "<= 40.0 ms"},
        "verdict": "PASS",
        "measurement": measured(p99, throughput),
        "began": NOW - days * DAY,
        "fingerprint": MACHINE,
        "revision": {"commit": "b38eefc0aa", "dirty": False},
        "applied": "a1",
        "model_files": "f1",
        **others,
    }
    return Record(**values)


HISTORY = [
    record(300),
    record(3, 0.0312, revision={"commit": "63c6a13bbb", "dirty": True}),
    record(
        2,
        0.9,
        20.0,
        verdict="INCONCLUSIVE",
        fingerprint={**MACHINE, "cores": 4, "triton": "2.55.0"},
        model_files="f2",
        revision={},
    ),
    record(1, None, 30.0, verdict="FAIL", fingerprint={**MACHINE, "cores": 4}, model_files="f2"),
    record(0.5, verdict="ERROR", measurement={}, fingerprint={"cpu": "AMD EPYC", "cores": 4}, model_files="f2"),
]


def test_a_history_at_80_columns():
    lines = write(HISTORY, ["throughput", "p99"], Style(), NOW)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert re.search(r"^  2026-01-\d\d    b38eefc   PASS +123\.4/s \(111-136\)", text, re.MULTILINE)
    assert re.search(r"^  Nov 22 17:00  63c6a13\*  PASS .* 31\.2 ms \(28\.1-34\.3\)$", text, re.MULTILINE)
    assert "  ~ cores 2 -> 4; Triton 2.51.0 -> 2.55.0; model files changed\n  Nov 23 17:00  -  " in text
    assert "  ~ Triton 2.55.0 -> 2.51.0\n  Nov 24 17:00  b38eefc   FAIL" in text
    assert re.search(r"FAIL .* inf$", text, re.MULTILINE)
    assert re.search(r"ERROR +- +-$", text, re.MULTILINE)
    assert text.count("~") == 2
    assert "\x1b" not in text


def test_without_room_there_are_no_intervals():
    narrow = write(HISTORY[:1], ["throughput", "p99"], Style(width=60), NOW)
    assert narrow[-1].endswith("25.3 ms")
    assert max(map(len, narrow[1:])) <= 60


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0009, 0.0011, "1.00 ms (0.900-1.10)"),
        (0.0009999, None, "1.00 ms (1.00-?)"),
        (0.0, 1.2345, "1.00 ms (0.00-1234)"),
        (None, None, "1.00 ms"),
    ],
)
def test_an_interval_names_its_unit_once(low, high, shown):
    values = {"p99": {"value": 0.001, "low": low, "high": high, "unit": "s"}}
    assert write([record(1, measurement=values)], ["p99"], Style(), NOW)[-1].endswith(f"  {shown}")


def test_colours_and_plain_characters():
    coloured = "\n".join(write(HISTORY, ["p99"], Style(colour=True), NOW))
    assert "\x1b[31mFAIL\x1b[0m" in coloured
    assert "\x1b[32mPASS\x1b[0m" in coloured
    assert "\n".join(write(HISTORY, ["p99"], Style(blocks=False), NOW)).isascii()


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([1.0, 2.1, 3.0], "▁▅█"),
        ([1.0, None, 3.0], "▁ █"),
        ([100.0, 101.0, 100.0], "▇█▇"),
        ([5.0], "█"),
        ([0.0, 0.0], "▁▁"),
        ([None], " "),
        ([], ""),
    ],
)
def test_spark_lines(values, drawn):
    assert spark(values) == drawn


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"load": {"concurrency": 8, "batch_size": 1, "protocol": "http"}, "key": "l"}, "load c4 -> c8"),
        ({"applied": "a2"}, "configuration changed"),
        ({"applied": ""}, None),
        ({"model_files": "f2"}, "model files changed"),
        ({"key": "l"}, "inputs changed"),
        ({"revision": {}}, None),
    ],
)
def test_what_compares_badly_is_marked(others, told):
    marks = [line for line in write([record(2), record(1, **others)], ["p99"], Style(), NOW) if "~" in line]
    assert marks == ([f"  ~ {told}"] if told else [])


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """A folder where runs have been, the current one."""
    store = Store(Place(path=tmp_path / ".triton" / "results.db"))
    for each in HISTORY:
        store.append(each)
    store.append(record(1, id="models/detector/test_detector.py::test_other"))
    store.append(record(1, id="models/detector/test_detector.py::test_search[i1]", search="s", point="i1"))
    store.append(record(1, model="lonely", id="test_search[i1]", search="t", point="i1"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "shown", "hidden"),
    [
        ("detector", 0, ["[c4]\n", "::test_other\n", "\n1 candidate of a search is left out; --cand"], ["[i1]"]),
        ("detector --candidates", 0, ["[c4]\n", "[i1]\n"], ["left out"]),
        ("detector --case [c4] --last 2", 0, ["FAIL", "ERROR"], ["test_other", "INCONCLUSIVE", "left out"]),
        ("detector --case search", 0, ["[i1]"], ["[c4]"]),
        ("detector --metric p50 rss --case other", 0, ["::test_other\n", "PASS"], ["p99"]),
        ("detector --case nothing", 1, ["No test of detector with 'nothing' in its id is in /"], []),
        ("detektor", 1, ["Nothing is recorded of a model 'detektor' in /", "did you mean 'detector'?"], []),
        ("lonely", 1, ["Nothing but 1 candidate of a search is recorded of lonely; --candidates shows"], []),
        ("detector --store other.db", 1, ["There is no store /", "other.db yet: a run of pytest makes it"], []),
    ],
)
def test_what_is_shown(kept, capsys, arguments, status, shown, hidden):
    assert main(["history", *arguments.split()]) == status
    out, err = capsys.readouterr()
    assert err == ""
    for text in shown:
        assert text in out
    for text in hidden:
        assert text not in out


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ("detector --metric p98", 2, "unknown metric 'p98'\n  did you mean 'p9"),
        ("detector --store mysql://db/x", 2, "records cannot be stored in mysql://"),
        ("detector --store broken.db", 3, "broken.db is no SQLite database, or corrupt"),
        ("detector --store newer.db", 3, "newer.db has schema 99"),
        ("detector --store postgresql://127.0.0.1:1/x?connect_timeout=2", 3, "cannot reach the store postgresql://127"),
    ],
)
def test_what_cannot_be_shown(kept, capsys, arguments, status, told):
    (kept / "broken.db").write_text("nonsense " * 1000)
    Store(Place(path=kept / "newer.db")).append(HISTORY[0])
    with sqlite3.connect(kept / "newer.db") as connection:
        connection.execute("UPDATE triton_schema SET version = 99")
    assert main(["history", *arguments.split()]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pytest-triton: ")
    assert told in err


@pytest.mark.parametrize("arguments", ["", "history", "history m --last 0", "history m --last many", "histroy m"])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage: pytest-triton" in capsys.readouterr().err


def test_json_is_for_other_programs(kept, capsys):
    assert main(["history", "detector", "--case", "[c4]", "--last", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["model"]) == (1, "detector")
    (test,) = found["tests"]
    assert test["id"] == TEST
    assert [row["verdict"] for row in test["records"]] == ["INCONCLUSIVE", "FAIL", "ERROR"]
    assert [row["changed"] for row in test["records"]] == [[], ["Triton 2.55.0 -> 2.51.0"], []]
    assert test["records"][1]["measurement"]["throughput"]["value"] == 30.0
    assert test["records"][1]["revision"]["commit"] == "b38eefc0aa"
    assert main(["history", "nobody", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["tests"] == []


COMMAND = [str(Path(sys.executable).with_name("pytest-triton")), "history", "detector", "--candidates"]


def test_no_colour_and_no_more_than_the_terminal_takes(kept):
    plain = subprocess.run(COMMAND, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert plain.stdout.isascii()
    assert b"\x1b" not in plain.stdout
    for no_colour in ("", "1"):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": no_colour}
        subprocess.run(COMMAND, stdout=theirs, check=True, env=environment)
        os.close(theirs)
        with os.fdopen(ours, "rb") as terminal:
            assert (b"\x1b[32mPASS" in terminal.read(1000)) is not bool(no_colour)


def test_a_reader_who_has_seen_enough(kept):
    shell = f"set -o pipefail; '{COMMAND[0]}' history detector --json | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "below/.triton/results.db"),
        ({".triton/results.db": ""}, ".triton/results.db"),
        ({"pytest.ini": "[pytest]\ntriton_store = kept.db\n"}, "kept.db"),
        ({"pytest.ini": "[pytest]\ntriton_output = out\n"}, "out/results.db"),
        ({"pytest.ini": "[pytest]\nxfail_strict = true\n"}, ".triton/results.db"),
        ({"pyproject.toml": '[tool.pytest.ini_options]\ntriton_store = "kept.db"\n'}, "kept.db"),
        ({"pyproject.toml": '[project]\nname = "x"\n', "tox.ini": "[pytest]\ntriton_store=t.db\n"}, "t.db"),
        ({"setup.cfg": "[tool:pytest]\ntriton_store = %(here)s.db\n"}, "%(here)s.db"),
        ({"pytest.ini": "[pytest]\ntriton_store = 1.db\n", "tox.ini": "[pytest]\ntriton_store=2.db\n"}, "1.db"),
        ({"below/.triton/results.db": "", "pytest.ini": "[pytest]\ntriton_store=1.db\n"}, "below/.triton/results.db"),
    ],
)
def test_where_the_records_are(tmp_path, files, found):
    (tmp_path / "below").mkdir()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_place(tmp_path / "below") == Place(path=tmp_path / found)


def test_settings_that_cannot_be_read(kept, capsys):
    (kept / "pyproject.toml").write_text("[tool.pytest\n")
    assert main(["history", "detector"]) == 2
    assert "pyproject.toml: " in capsys.readouterr().err
