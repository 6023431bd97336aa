"""The environment that models run in: what the server's interpreter sees, whatever its program is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_triton.server.embedded.installation import Installation
from pytest_triton.server.interpreter import make_view


def make_environment(directory: Path, installation: Installation, *, keep_clean: Sequence[Path]) -> dict[str, str]:
    """Make a view of the interpreter in ``directory``; return the variables to start ``tritonserver`` with.

    Nothing is cached under the directories ``keep_clean`` when modules are imported from them.
    """
    view = make_view(directory, installation.interpreter, keep_clean=keep_clean)
    environment = installation.environment()
    environment["PATH"] = os.pathsep.join([str(view), environment["PATH"]])
    # onnxruntime reports its use over the network otherwise.
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return environment
