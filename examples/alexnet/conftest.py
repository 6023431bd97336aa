"""Builds the model that is too large to be kept in git, the first time it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _built(pytestconfig: pytest.Config) -> None:
    """Runs before the server starts, as every fixture of the session goes before those of a module."""
    if (HERE / "alexnet" / "1" / "model.onnx").exists():
        return
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(flush=True)
        subprocess.run([sys.executable, str(HERE / "build.py")], check=True)
