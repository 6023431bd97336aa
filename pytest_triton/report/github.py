"""What GitHub shows of a run: annotations beside the tests' lines, and a job's summary in Markdown.

https://docs.github.com/en/actions/writing-workflows/choosing-what-your-workflow-does/workflow-commands-for-github-actions
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.metrics import METRICS, is_metric, metric
from pytest_triton.quantities import Unit, show, show_interval
from pytest_triton.report import markdown, summary
from pytest_triton.report.load import describe
from pytest_triton.report.search_table import end_of, hidden, search_table
from pytest_triton.results.record import Record

SUMMARY_BYTES = 1 << 20
"""GitHub refuses a larger summary of a step, and then shows none of it."""
MOST_OF_A_KIND = 10
"""Annotations of one kind that GitHub shows of a step; it drops the others without a word."""
_SIGNS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "⚠️", "ERROR": "💥"}
_KINDS = {"FAIL": "error", "ERROR": "error", "INCONCLUSIVE": "warning"}
_ROWS = 100
"""Cases in one block: what does not fit into the summary is left out by the block."""
_REDDENS_NOTHING = ("infeasible", "unloadable", "crashed", "disqualified", "skipped", "measured")
"""What may become of a candidate without a say in its search's verdict."""
_WITHOUT_BOUNDS = ("throughput", "p99")
_INCONCLUSIVE = (
    "**INCONCLUSIVE** means that the data show neither that a bound is kept nor that it is missed. More requests "
    "(`--triton-max-duration`), a lower percentile or a quieter machine may decide; a limit that lies just on what the "
    "model delivers stays undecided."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test stands: a path as GitHub knows it, and a line that counts from 1."""

    path: str
    line: int


def annotate(records: Sequence[Record], places: Mapping[str, Place]) -> list[str]:
    """Return workflow commands: an error for FAIL and ERROR, a warning for INCONCLUSIVE, a notice for a winner.

    ``places`` maps the ids of records to where their tests stand. Of each kind there are as many as GitHub shows; the
    last one says how many more there would be.
    """
    found: dict[str, list[tuple[str, str, Place | None]]] = {"error": [], "warning": [], "notice": []}
    for record in records:
        place = places.get(record.id)
        kind = _KINDS.get(record.verdict)
        if kind is not None and _counts(record):
            found[kind].append((f"{record.verdict}: {_name(record)}", _sentence(record), place))
        elif record.summary and record.summary["winner"] is not None:
            said = " ".join(summary.decision(record)[:1])
            found["notice"].append((f"{record.model}: {record.summary['winner']}", said, place))
    return [command for kind, entries in found.items() for command in _commands(kind, entries)]


def _commands(kind: str, entries: Sequence[tuple[str, str, Place | None]]) -> Iterator[str]:
    shown = entries if len(entries) <= MOST_OF_A_KIND else entries[: MOST_OF_A_KIND - 1]
    for title, message, place in shown:
        where = {"file": place.path, "line": str(place.line)} if place is not None else {}
        yield _command(kind, message, {**where, "title": title})
    if more := len(entries) - len(shown):
        titles = "\n".join(title for title, _, _ in entries[len(shown) :])
        yield _command(kind, titles, {"title": f"{more} more, see the job's summary"})


def _command(kind: str, message: str, properties: Mapping[str, str]) -> str:
    written = ",".join(f"{name}={_escape(value, ':,')}" for name, value in properties.items())
    return f"::{kind} {written}::{_escape(message)}"


def _escape(value: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def write_summary(records: Sequence[Record], fingerprint: Mapping[str, Any], *, at_most: int = SUMMARY_BYTES) -> str:
    """Return the summary of a job, in at most so many bytes of UTF-8: what does not fit is left out, and said so."""
    blocks = [_overview(records, fingerprint), *_verdicts(records)]
    for part in summary.by_search(records):
        blocks.extend(_search(part))
    return _fit(blocks, at_most)


def _fit(blocks: Sequence[Sequence[str]], at_most: int) -> str:
    """Join blocks of lines, up to the first one that does not fit: a part of a table could say the wrong thing."""
    note = "\n_The rest is left out: GitHub shows no summary above 1 MiB. `--triton-json` has all of it._\n"
    written, room = "", at_most - len(note.encode())
    for index, block in enumerate(blocks):
        more = "\n".join([*block, "", ""])
        fits = at_most if index == len(blocks) - 1 else room
        if len((written + more).encode()) > fits:
            return written + note if room >= 0 else ""
        written += more
    return written


def _overview(records: Sequence[Record], fingerprint: Mapping[str, Any]) -> list[str]:
    counts = {verdict: sum(1 for r in records if r.verdict == verdict and _counts(r)) for verdict in _SIGNS}
    told = ", ".join(f"{_SIGNS[verdict]} {count} {verdict}" for verdict, count in counts.items() if count)
    machine = [f"{fingerprint['cpu']}, {fingerprint['cores']} cores"] if fingerprint.get("cpu") else []
    machine += fingerprint.get("gpus", [])
    if "commit" in fingerprint:
        machine.append(f"commit {fingerprint['commit'][:9]}" + (", changed" if fingerprint.get("dirty") else ""))
    lines = [f"## Triton performance: {told or 'nothing was judged'}", ""]
    lines += [f"Measured {markdown.text(server)}" for server in summary.servers(records)]
    lines += ["", *[markdown.text("; ".join(machine))]] if machine else []
    return lines + [line for saved in summary.early(records) for line in ("", f"{markdown.text(saved)}.")]


def _verdicts(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the table of cases in parts that still say what they are, and why some did not pass."""
    judged = [record for record in records if not record.search]
    header = ("verdict", "test", "load", "metric", "measured", "95 % interval", "limit", "margin")
    for start in range(0, len(judged), _ROWS):
        rows = [row for record in judged[start : start + _ROWS] for row in _rows(record)]
        yield [*(["### Cases", ""] if not start else []), *markdown.table(header, rows, left=4)]
    reasons = [record for record in records if record.verdict != "PASS" and _counts(record)]
    for start in range(0, len(reasons), _ROWS):
        yield [
            f"- {_SIGNS[r.verdict]} **{r.verdict}** {markdown.code(_name(r))}: {markdown.text(_sentence(r))}"
            for r in reasons[start : start + _ROWS]
        ]
    if any(record.verdict == "INCONCLUSIVE" for record in reasons):
        yield [f"> {_INCONCLUSIVE}"]


def _rows(record: Record) -> Iterator[tuple[str, ...]]:
    """Yield a row for each bound; without any, what matters most."""
    load = markdown.text(describe(record.load))
    begin = (f"{_SIGNS[record.verdict]} {record.verdict}", markdown.code(_name(record)), load)
    cells = [_bound_cells(check) for check in record.checks] or [
        (name, *_figures(METRICS[name].unit, record.measurement[name]), "", "")
        for name in _WITHOUT_BOUNDS
        if name in record.measurement
    ]
    for row in cells or [("",) * 5]:
        # A figure and its unit stay on one line.
        yield *begin, *(markdown.text(cell).replace(" ", "\u00a0") for cell in row)
        begin = ("", "", "")


def _bound_cells(check: Mapping[str, Any]) -> tuple[str, ...]:
    unit = metric(check["metric"]).unit if is_metric(check["metric"]) else Unit.COUNT
    margin = f"{check['margin']:+.1%}" if check["margin"] is not None else "-"
    return check["metric"], *_figures(unit, check), f"{check['direction']} {show(check['limit'], unit)}", margin


def _figures(unit: Unit, values: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = values["value"], values["low"], values["high"]
    if value is None and values.get("outcome") != "ERROR":
        value = math.inf  # as JSON has it
    return show(value, unit), show_interval(low, high, unit)


def _search(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the blocks of a search: its decision, its table, the winner's config.pbtxt."""
    end = end_of(records)
    by = f", {end.summary['objective']}" if end is not None else ""
    said = summary.decision(end) if end is not None else summary.undecided(records)
    first, *others = (markdown.text(line) for line in said)
    yield [f"### Search: {markdown.text(records[0].model + by)}", "", f"**{first}**", *(f"\n{line}" for line in others)]
    header, rows = search_table(records)
    if rows:
        yield markdown.table(
            [markdown.text(cell) for cell in header],
            [[markdown.code(name), *map(markdown.text, cells)] for name, *cells in rows],
        )
        yield [markdown.text(line) for line in hidden(records)]
    out = summary.left_out(records)
    if out:
        yield markdown.details("Candidates that were not measured", [f"- {markdown.text(line)}" for line in out])
    if end is not None and end.summary.get("diff"):
        title = f"config.pbtxt of {html.escape(end.summary['winner'] or '')}"
        yield markdown.details(title, markdown.fence(end.summary["diff"], "diff"))


def _counts(record: Record) -> bool:
    """Tell whether a record's verdict is one on a test, and not what became of a candidate on the way."""
    return record.status not in _REDDENS_NOTHING


def _name(record: Record) -> str:
    return record.id.rpartition("/")[2]


def _sentence(record: Record) -> str:
    return record.reason.partition("\n")[0]
