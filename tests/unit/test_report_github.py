"""What GitHub is told: the form of its commands, and a summary that renders."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pytest_triton.report.github import MOST_OF_A_KIND, Place, annotate, write_summary
from pytest_triton.results.record import Record

RENDERER = MarkdownIt("commonmark").enable("table")
LOAD = {"concurrency": 4, "batch_size": 1, "protocol": "http"}
FIGURES = {
    "throughput": {"value": 75.9, "low": 74.9, "high": 77.0, "unit": "1/s"},
    "p99": {"value": None, "low": 0.05, "high": None, "unit": "s"},
}
CHECK = {
    "metric": "p95",
    "bound": "p95 <= 25.0 ms",
    "direction": "<=",
    "limit": 0.025,
    "value": 0.0552,
    "low": 0.0537,
    "high": None,
    "outcome": "FAIL",
    "margin": -1.209,
    "effective": 100,
    "needs": None,
    "reason": "p95 <= 25.0 ms: missed with 55.2 ms",
}
SETTINGS = {"max_batch_size": 0, "dynamic_batching": False, "instances": 2}
SUMMARY: dict[str, Any] = {
    "model": "detector",
    "objective": "throughput",
    "winner": "i2-t1",
    "configuration": {"instance_group.count": 2},
    "gain": {"value": 0.379, "low": 0.311, "high": 0.45},
    "gain_shown": "+37.9% (+31.1% to +45.0%)",
    "tie": False,
    "measured": 1,
    "candidates": 2,
    "seconds": 80.1,
    "default": FIGURES,
    "default_settings": SETTINGS,
    "rejected": (),
    "rivals": (),
    "path": "/somewhere/.triton/best/detector/config.pbtxt",
    "diff": "--- a/config.pbtxt\n+++ b/config.pbtxt\n@@ -1 +1,2 @@\n+# ``` is no end\n+instance_group { count: 2 }",
}


def record(verdict: str, name: str = "test_slo[c4]", **others: Any) -> Record:
    """A record of a case of ``detector`` with one bound."""
    return Record(
        **{
            "id": f"models/detector/test_detector.py::{name}",
            "key": "f1dd164d580b21a9",
            "model": "detector",
            "configuration": {},
            "load": LOAD,
            "slo": {"p95": "<= 25.0 ms"},
            "verdict": verdict,
            "reason": "p95 <= 25.0 ms: missed with 55.2 ms" if verdict == "FAIL" else "",
            "measurement": FIGURES,
            "checks": (CHECK,),
            "server": "embedded Triton 2.51.0",
            "engine": "wire",
            **others,
        }
    )


def a_search() -> list[Record]:
    """A candidate that wins, one that does not load, and the end."""
    candidate = record("PASS", "test_best[i2-t1]", search="s", point="i2-t1", status="measured", settings=SETTINGS)
    unloadable = replace(
        record("FAIL", "test_best[i2-gpu]", search="s", point="i2-gpu", status="unloadable", reason="no GPUs | here"),
        measurement={},
        checks=(),
    )
    return [candidate, unloadable, record("PASS", "test_best[best]", search="s", summary=SUMMARY, settings=SETTINGS)]


@pytest.mark.parametrize(
    ("given", "place", "command"),
    [
        (
            record("FAIL", reason="p95: 100% over,\r\nmore: here"),
            Place("models/a,b/test_x.py", 7),
            "::error file=models/a%2Cb/test_x.py,line=7,title=FAIL%3A test_detector.py%3A%3Atest_slo[c4]"
            "::p95: 100%25 over,%0D",
        ),
        (record("ERROR", reason="it died"), None, "::error title=ERROR%3A test_detector.py%3A%3Atest_slo[c4]::it died"),
        (
            record("INCONCLUSIVE", reason="undecided"),
            Place("t.py", 1),
            "::warning file=t.py,line=1,title=INCONCLUSIVE%3A test_detector.py%3A%3Atest_slo[c4]::undecided",
        ),
        (record("PASS"), Place("t.py", 1), None),
        (record("FAIL", status="infeasible", search="s", point="i1"), Place("t.py", 1), None),
        (record("INCONCLUSIVE", status="skipped", search="s", point="i1"), Place("t.py", 1), None),
        (record("PASS", summary={**SUMMARY, "winner": None}), Place("t.py", 1), None),
    ],
    ids=["escaped", "without a place", "warning", "pass", "infeasible", "skipped", "no winner"],
)
def test_a_verdict_is_a_command(given: Record, place: Place | None, command: str | None) -> None:
    places = {given.id: place} if place is not None else {}
    assert annotate([given], places) == ([command] if command is not None else [])


def test_a_winner_is_a_notice() -> None:
    (command,) = annotate(a_search(), {})
    assert command.startswith("::notice title=detector%3A i2-t1::In 1 of 2 candidates measured in 80 s, i2-t1 gives ")
    assert "+37.9%25 (+31.1%25 to +45.0%25)" in command


@pytest.mark.parametrize("count", [MOST_OF_A_KIND, MOST_OF_A_KIND + 1, 40])
def test_there_are_no_more_annotations_than_github_shows(count: int) -> None:
    failed = [record("FAIL", f"test_{number}") for number in range(count)]
    commands = annotate([*failed, record("INCONCLUSIVE")], {})
    errors = [command for command in commands if command.startswith("::error ")]
    assert len(errors) == MOST_OF_A_KIND
    assert len(commands) == len(errors) + 1
    more = count - MOST_OF_A_KIND + 1
    assert (f"title={more} more%2C see the job's summary::" in errors[-1]) == (count > MOST_OF_A_KIND)
    assert all(f"test_{number}" in "".join(errors) for number in range(count))
    assert "\n" not in "".join(commands)


def test_a_summary_renders_as_tables_lists_and_what_unfolds() -> None:
    early = {"seconds": 2.0, "limit": 60.0}
    records = [
        record("PASS", effort=early),
        record("FAIL", "test_slo[a|b]", effort=early),
        record("INCONCLUSIVE", "test_doubt", effort={"seconds": 60.0, "limit": 60.0}, reason="p95: undecided"),
        record("ERROR", "test_broken", measurement={}, checks=(), reason="detector: the server <died>"),
        record("PASS", "test_free", slo={}, checks=()),
        *a_search(),
    ]
    machine = {"cpu": "AMD_EPYC_", "cores": 2, "gpus": ["H100 80GB"], "commit": "e51e5200aa", "dirty": True}
    text = write_summary(records, machine)
    rendered = RENDERER.render(text).replace("\u00a0", " ")
    assert "<h2>Triton performance: ✅ 3 PASS, ❌ 1 FAIL, ⚠️ 1 INCONCLUSIVE, 💥 1 ERROR</h2>" in rendered
    assert "<p>AMD_EPYC_, 2 cores; H100 80GB; commit e51e5200a, changed</p>" in rendered
    assert "2 of 3 measurements were decided early: 64 s of load instead of 180 s." in rendered
    cases, search = (re.findall(r"<tr>.*?</tr>", part, re.DOTALL) for part in rendered.split("<table>")[1:])
    assert len(cases) == 1 + 3 + 1 + 2
    assert {len(re.findall(r"<t[hd]", row)) for row in cases} == {8}
    assert "<code>test_detector.py::test_slo[a|b]</code>" in cases[2]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", cases[2])[-4:] == [
        "55.2 ms",
        "53.7 ms or more",
        "&lt;= 25.0 ms",
        "-120.9%",
    ]
    assert [row.count("inf") for row in cases[-2:]] == [0, 1]
    assert (
        "<li>💥 <strong>ERROR</strong> <code>test_detector.py::test_broken</code>: detector: the server &lt;died"
        in rendered
    )
    assert re.search(r"<blockquote>\s*<p><strong>INCONCLUSIVE</strong> means", rendered)
    assert "<h3>Search: detector, throughput</h3>" in rendered
    assert [re.findall(r"<code>(.*?)</code>", row) for row in search] == [[], ["i2-t1"], ["default"]]
    assert rendered.count("<details>") == rendered.count("</details>") == 2
    assert "<li>i2-gpu: unloadable: no GPUs | here</li>" in rendered
    code = re.search(r'<code class="language-diff">(.*?)</code>', rendered, re.DOTALL)
    assert code is not None
    assert code[1].strip() == SUMMARY["diff"]


def test_without_doubts_none_are_explained() -> None:
    assert "means that" not in write_summary([record("PASS"), *a_search()], {})


@pytest.mark.parametrize("room", [0, 50, 200, 5_000, 20_000, 1 << 20])
def test_a_summary_keeps_to_its_size_and_says_what_is_missing(room: int) -> None:
    records = [record("FAIL", f"test_{number}[äöü]") for number in range(400)] + a_search()
    text, whole = write_summary(records, {}, at_most=room), write_summary(records, {})
    assert len(text.encode()) <= room
    if len(whole.encode()) <= room:
        assert text == whole
    elif text:
        assert "The rest is left out" in text
        assert whole.startswith(text[: text.index("\n_The rest")])
