"""The end of pytest's terminal output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_triton.plugin.state import State
from pytest_triton.report import summary

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def summarise(reporter: TerminalReporter, state: State) -> None:
    """Print what was measured, what each search decided, and any trouble on the way."""
    reporter.section("triton", sep="-")
    for line in (*summary.servers(state.records), *summary.loads(state.records)):
        reporter.line(line)
    searches = summary.searches(state.records)
    for block in searches:
        reporter.section("triton search", sep="-")
        for line in block:
            reporter.line(line)
    saved = summary.early(state.records)
    for line in ["", *saved] if searches and saved else saved:
        reporter.line(line)
    for note in state.notes:
        reporter.line(f"triton: {note}")
    for trouble in state.troubles:
        reporter.line(f"triton: {trouble}", red=True)
