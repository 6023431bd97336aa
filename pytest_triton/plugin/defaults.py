"""Our own server, engine and strategy, for when no other plugin brings one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin import devices, options, values

if TYPE_CHECKING:
    from pytest_triton.load.base import Engine
    from pytest_triton.load.perf_analyzer_program import Program
    from pytest_triton.search.settings import Settings
    from pytest_triton.search.strategies.base import Strategy
    from pytest_triton.server.base import Server

_DOCKER = "docker:"


@pytest.hookimpl(trylast=True)
def pytest_triton_make_server(
    config: pytest.Config, repository: Path | None, arguments: Sequence[str], output: Path
) -> Server:
    """The server that ``--triton-server`` names."""
    from pytest_triton.plugin.state import of
    from pytest_triton.server.choice import choose

    kind, _ = options.setting(config, "server")
    python, _ = options.setting(config, "embedded-python")
    if options.is_remote(config):
        return choose(
            kind,
            repository,
            output=output,
            headers=values.headers(config),
            tls=values.tls(config),
            gpus=devices.chosen(config),
        )
    program = options.folder(config, "server-path")
    start_timeout = values.duration(config, "start-timeout")
    assert start_timeout is not None
    return choose(
        kind,
        repository,
        output=output,
        arguments=arguments,
        python=python or None,
        program=str(program or ""),
        image=options.setting(config, "image")[0],
        docker_args=values.docker_args(config),
        start_timeout=start_timeout,
        bind=values.bind(config),
        gpus=devices.chosen(config),
        tell=of(config).progress.say,
    )


@pytest.hookimpl(trylast=True)
def pytest_triton_make_engine(config: pytest.Config) -> Engine:
    """The engine that ``--triton-engine`` names."""
    from pytest_triton.load.engines import make_engine

    name, _ = options.setting(config, "engine")
    return make_engine(name, workers=values.workers(config), perf_analyzer=_perf_analyzer(config))


def _perf_analyzer(config: pytest.Config) -> str | Callable[[], Program]:
    """Return the path that ``--triton-perf-analyzer`` names, or how to start a container of its image."""
    from pytest_triton.plugin.state import of

    value, _ = options.setting(config, "perf-analyzer")
    if not value.startswith(_DOCKER):
        return str(options.folder(config, "perf-analyzer") or "")
    # Imported where it is asked for: the other engines need nothing of Docker.
    from pytest_triton.server.docker.perf_analyzer import ContainerProgram

    return partial(ContainerProgram.find, value.removeprefix(_DOCKER).strip(), of(config).progress.say)


@pytest.hookimpl(trylast=True)
def pytest_triton_make_strategy(config: pytest.Config, candidates: int, settings: Settings) -> Strategy:
    """The strategy that the search's settings name, within ``--triton-budget``; what is proposed is raced as well."""
    from pytest_triton.search.strategies.exhaustive import Exhaustive
    from pytest_triton.search.strategies.race import Race

    budget = values.duration(config, "budget")
    return Exhaustive(budget=budget) if settings.strategy == "exhaustive" else Race(budget=budget)
