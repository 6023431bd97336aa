"""The end of pytest's terminal output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin.state import STATE

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def summarise(reporter: TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured, what each search decided, and any trouble on the way."""
    state = config.stash.get(STATE, None)
    if state is None or not (state.records or state.troubles):
        return
    from pytest_triton.report import summary

    reporter.section("triton", sep="-")
    for line in (*summary.servers(state.records), *summary.loads(state.records)):
        reporter.line(line)
    for block in summary.searches(state.records):
        reporter.section("triton search", sep="-")
        for line in block:
            reporter.line(line)
    for trouble in state.troubles:
        reporter.line(f"triton: {trouble}", red=True)
