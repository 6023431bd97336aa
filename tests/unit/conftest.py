"""Fixtures of the tests that need no Triton."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile import Behave, HostileServer


@pytest.fixture
def serve() -> Iterator[Callable[..., HostileServer]]:
    """Start servers that end with the test."""
    servers: list[HostileServer] = []

    def start(behave: Behave, **options: Any) -> HostileServer:
        servers.append(HostileServer(behave, **options))
        return servers[-1]

    yield start
    for server in servers:
        with contextlib.suppress(OSError):
            server.stop()
