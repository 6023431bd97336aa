"""The pytest plugin: the only package that imports pytest.

This module holds pytest's hooks and nothing else; each hands over to the module whose subject it is. It is imported in
every pytest run of the environment, so a hook imports that module only once a test of ours is there: a run without one
pays for a few options and fixtures, and never loads numpy, grpc, docker, onnx or scipy.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_triton.plugin import hookspecs, options, values
from pytest_triton.plugin.fixtures import (
    _triton_plan,
    triton_client,
    triton_inputs,
    triton_perf,
    triton_repository,
    triton_server,
    triton_server_args,
)
from pytest_triton.plugin.keys import MARKERS, PLAN, RECORDS, STATE, TURNS, uses_triton

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = [
    "_triton_plan",
    "triton_client",
    "triton_inputs",
    "triton_perf",
    "triton_repository",
    "triton_server",
    "triton_server_args",
]

_GITHUB = {"GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"}
"""Environment variables by which a job of GitHub's is known."""


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    for signature in MARKERS.values():
        config.addinivalue_line("markers", signature)
    values.check(config)
    if config.getoption("tx", default=None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Controller(config))
    if os.environ.keys() & _GITHUB and not hasattr(config, "workerinput"):
        from pytest_triton.plugin.github import GitHub

        config.pluginmanager.register(GitHub(config))


def pytest_report_header(config: pytest.Config) -> list[str]:
    return values.header(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = list(metafunc.definition.iter_markers())
    if PLAN in metafunc.fixturenames or any(mark.name.startswith("triton_") for mark in marks):
        from pytest_triton.plugin import expansion

        expansion.expand(metafunc, marks)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # First, because pytest-benchmark looks here for the tests that use its fixture.
    if ours := [item for item in items if uses_triton(item)]:
        from pytest_triton.plugin import benchmark_sink

        benchmark_sink.prepare(config, ours)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    ours = [item for item in items if uses_triton(item)]
    if not ours:
        return []
    from pytest_triton.plugin import expansion

    return expansion.describe(config, ours)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if STATE in item.config.stash:
        from pytest_triton.plugin import lifecycle

        lifecycle.leave(item.config.stash[STATE], item, nextitem)


def pytest_collection_finish(session: pytest.Session) -> None:
    # A worker of pytest-xdist has no terminal: its controller says it at the end, once for all of them.
    if hasattr(session.config, "workerinput") and (ours := [item for item in session.items if uses_triton(item)]):
        from pytest_triton.plugin import expansion, state

        for note in expansion.notes_on(ours):
            state.of(session.config).noted(note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and RECORDS in item.stash:
        # Plain JSON, so that it crosses pytest-xdist.
        report.triton = [record.as_dict() for record in item.stash[RECORDS]]  # type: ignore[attr-defined]
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    if not hasattr(report, "triton"):
        return None
    from pytest_triton.plugin import outcomes

    return outcomes.word(report)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    state = config.stash.get(STATE, None)
    if state is not None and (state.records or state.troubles):
        from pytest_triton.plugin import terminal

        terminal.summarise(terminalreporter, state)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if STATE in session.config.stash or options.setting(session.config, "json")[0]:
        from pytest_triton.plugin import state

        state.finish(session)


def pytest_unconfigure(config: pytest.Config) -> None:
    if STATE in config.stash:
        config.stash[STATE].stop()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    # What Triton loads (1/model.py) is not a test module, and importing it would fail outside the server.
    return True if collection_path.parent.name.isdigit() and collection_path.name == "model.py" else None


def _names_us(path: Path) -> bool:
    try:
        return b"triton" in path.read_bytes()
    except OSError:
        return False


class _Controller:
    """Gathers, on an xdist controller, the records that arrive on the workers' reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._told = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "triton"):
            from pytest_triton.plugin import state

            state.of(self._config).gather(report.triton)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        # What the workers say of their tests is shown nowhere, and all of them have the same ones.
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if self._told or reporter is None or self._config.get_verbosity() < 0:
            return
        self._told = True
        files = dict.fromkeys(name.partition("::")[0] for name in ids)
        if any(_names_us(self._config.rootpath / name) for name in files):
            reporter.write_line(f"triton: {TURNS}, whichever worker it is on")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        from pytest_triton.plugin import state

        # A worker that crashed leaves none.
        left = getattr(node, "workeroutput", {})
        for trouble in left.get(state.TROUBLES, ()):
            state.of(self._config).troubled(trouble)
        for note in left.get(state.NOTES, ()):
            state.of(self._config).noted(note)
