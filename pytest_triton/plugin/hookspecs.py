"""Hooks by which another plugin or a conftest.py brings its own server, engine or strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_triton.load.base import Engine
    from pytest_triton.search.settings import Settings
    from pytest_triton.search.strategies.base import Strategy
    from pytest_triton.server.base import Server


@pytest.hookspec(firstresult=True)
def pytest_triton_make_server(
    config: pytest.Config, repository: Path | None, arguments: Sequence[str], output: Path
) -> Server | None:
    """Return the server to measure on, not yet started; its log goes into ``output``. None leaves it to others."""


@pytest.hookspec(firstresult=True)
def pytest_triton_make_engine(config: pytest.Config) -> Engine | None:
    """Return the load generator to measure with. None leaves it to others."""


@pytest.hookspec(firstresult=True)
def pytest_triton_make_strategy(config: pytest.Config, candidates: int, settings: Settings) -> Strategy | None:
    """Return the strategy for a search over ``candidates`` candidates. None leaves it to others.

    ``settings`` is what the marker says, its strategy replaced by what ``--triton-strategy`` names.
    """
