"""How long a server of ours lives: as long as the user says, and no longer than it crashes again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from pytest_triton.plugin import options

if TYPE_CHECKING:
    from pytest_triton.plugin.state import State

_CRASHES = 3
"""Crashes in a row, without a valid measurement between them, after which a run stops."""


def fixture_scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module"]:
    """Return the scope of ``triton_server``: no test may be given a server that has ended with the one before."""
    return "function" if options.setting(config, "server-scope")[0] == "test" else "module"


def leave(state: State, item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the server after ``item`` where the next test is to have another, or there is none."""
    scope, _ = options.setting(state.config, "server-scope")
    if scope == "test" or (scope == "module" and (nextitem is None or nextitem.path != item.path)):
        state.stop()


def crashed(state: State, item: pytest.Item) -> None:
    """Count a crash of the server under a test, and stop the run when there is no end to them.

    One under a search's candidate is a result of the search, and no such crash.
    """
    state.crashes += 1
    if state.crashes >= _CRASHES:
        item.session.shouldfail = f"triton: the server has died {_CRASHES} times in a row, so the run stops"
