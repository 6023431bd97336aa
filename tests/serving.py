"""A running embedded server for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_triton.server import EmbeddedServer


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
