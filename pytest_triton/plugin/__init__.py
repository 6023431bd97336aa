"""The pytest plugin: the only package that imports pytest.

This module holds pytest's hooks and nothing else; each hands over to the module whose subject it is.
Imported in every pytest run of the environment, so neither it nor what it imports pulls in numpy, grpc, docker, onnx
or scipy.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin import expansion, hookspecs, markers, options, outcomes, state, terminal
from pytest_triton.plugin.fixtures import (
    _triton_plan,
    triton_client,
    triton_inputs,
    triton_perf,
    triton_repository,
    triton_server,
    triton_server_args,
)

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


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    markers.register(config)
    state.begin(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return options.header(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    expansion.expand(metafunc)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    return expansion.describe(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    outcomes.attach(item, report)
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    return outcomes.word(report)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    terminal.summarise(terminalreporter, config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    state.finish(session)


def pytest_unconfigure(config: pytest.Config) -> None:
    state.end(config)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    # What Triton loads (1/model.py) is not a test module, and importing it would fail outside the server.
    return True if collection_path.parent.name.isdigit() and collection_path.name == "model.py" else None
