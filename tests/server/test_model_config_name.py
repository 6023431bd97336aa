"""A winner with a name is what Triton takes when it is started with ``--model-config-name``."""

from __future__ import annotations

from pathlib import Path

import pytest
from python_models import write_model

from pytest_triton.repository.configuration import read
from pytest_triton.results.winner import Install, write_winner
from pytest_triton.server import EmbeddedServer


@pytest.mark.parametrize(("name", "instances"), [("h100", 3), ("a10", 1)])
def test_triton_selects_it_by_its_name(tmp_path: Path, name: str, instances: int) -> None:
    """Where a model has none of that name, Triton takes its config.pbtxt."""
    repository = tmp_path / "models"
    write_model(repository, "m", dims="[ 4 ]")
    server = EmbeddedServer(repository, output=tmp_path, arguments=[f"--model-config-name={name}"])
    try:
        install = Install(tmp_path / "best", repository, into_repository=True, name="h100")
        write_winner(install, "m", {"instance_group.count": 3}, read(repository / "m" / "config.pbtxt"))
        server.start()
        server.control.load("m")
        (group,) = server.control.configuration("m").instance_group
        assert group.count == instances
    finally:
        server.stop()
