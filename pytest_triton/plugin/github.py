"""GitHub Actions: annotations in the job's log, a summary of the job in the file that GitHub names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin.keys import STATE

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_triton.report.github import Place

_FILE = "GITHUB_STEP_SUMMARY"
_LOG = "GITHUB_ACTIONS"
_ANNOTATES_FAILURES = "pytest_github_actions_annotate_failures"
"""A plugin that many have: it makes an error of every failed test itself."""


class GitHub:
    """Tells GitHub what was measured; on the controller alone where there are workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._places: dict[str, Place] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember where the tests stand that records come from."""
        for record in getattr(report, "triton", ()):
            from pytest_triton.report.github import Place

            path, line, _ = report.location
            self._places[record["id"]] = Place(_as_github_knows(self._config.rootpath / path), (line or 0) + 1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Append to the job's summary, before the state's end looks for troubles."""
        state = self._config.stash.get(STATE, None)
        named = os.environ.get(_FILE)
        if state is None or not state.records or not named:
            return
        from pytest_triton.report.github import SUMMARY_BYTES, write_summary
        from pytest_triton.results.fingerprint import fingerprint

        path = Path(named)
        try:
            room = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
            text = write_summary(state.records, fingerprint(self._config.rootpath), at_most=room)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            state.troubled(f"cannot write the job's summary to {path} (${_FILE}): {error.strerror}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Print the annotations, each of which GitHub wants at the beginning of a line."""
        state = self._config.stash.get(STATE, None)
        if state is None or os.environ.get(_LOG) != "true":
            return
        from pytest_triton.report.github import annotate

        terminalreporter.ensure_newline()
        doubled = self._config.pluginmanager.hasplugin(_ANNOTATES_FAILURES)
        for command in annotate(state.records, self._places):
            if not (doubled and command.startswith("::error ")):
                terminalreporter.line(command)


def _as_github_knows(path: Path) -> str:
    """Write a path from the root of the checkout, which is where GitHub's job begins."""
    root = os.environ.get("GITHUB_WORKSPACE") or str(Path.cwd())
    return Path(os.path.relpath(path, root)).as_posix()
