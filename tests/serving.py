"""A running embedded server for as long as a block lasts, and what it has counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_triton.observation import ServerStatistics
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.base import Control


@contextmanager
def serve(repository: Path, output: Path, *models: str) -> Iterator[EmbeddedServer]:
    """Start a server on ``repository`` and load ``models``; end it with the block, whatever happens."""
    server = EmbeddedServer(repository, output=output)
    try:
        server.start()
        for model in models:
            server.control.load(model)
        yield server
    finally:
        server.stop()


def settled_statistics(control: Control, model: str) -> ServerStatistics:
    """Triton's statistics once they stand still: it counts a request only after its answer has left."""
    earlier = control.statistics(model)
    for _ in range(40):
        time.sleep(0.05)
        later = control.statistics(model)
        if later == earlier:
            return later
        earlier = later
    raise AssertionError("the statistics do not stand still without a load")
