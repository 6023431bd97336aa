"""How the next configuration gets onto a warm server: in place, anew, or on a server that spares itself a step.

Triton's Python backend waits a whole second at the end of each of a model's processes
(``StubLauncher::UpdateHealth`` in its stub_launcher.cc). That is a second for each instance that is removed in place,
and one for each load of a model that Triton may complete, since completing it takes a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_triton.repository.python_code import may_define
from pytest_triton.server.base import Server
from pytest_triton.server.embedded.backend_directory import python_backends

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_IN_PLACE = ("instance_group", "version_policy")
_COMPLETES_ITSELF = "auto_complete_config"
_PYTHON = "python"
_SCHEDULES = "openvino"
"""The one of our backends that puts back a scheduler that was taken out, as the official one does."""


def count_instances(configuration: ModelConfig) -> int:
    """Add up the instances of all groups of a configuration that a server applied."""
    return sum(max(group.count, 1) * max(len(group.gpus), 1) for group in configuration.instance_group)


def changes_in_place(old: ModelConfig, new: ModelConfig) -> bool:
    """Say whether Triton goes from one configuration to the other by adding and removing instances."""
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    sides = []
    for configuration in (old, new):
        side = ModelConfig()
        side.CopyFrom(configuration)
        for name in _IN_PLACE:
            side.ClearField(name)
        sides.append(side)
    return old == new or (sides[0] == sides[1] and not new.ensemble_scheduling.step)


def runs_in_python(server: Server, configuration: ModelConfig) -> bool:
    """Say whether each of the model's instances is a process of Triton's Python backend."""
    backend = configuration.backend
    return backend == _PYTHON or (server.kind == "embedded" and backend in python_backends())


def needs_no_completion(server: Server, configuration: ModelConfig) -> bool:
    """Say whether Triton would change nothing by completing ``configuration``, which it completed once, and saves time.

    So it is with a model whose Python code, all of it in its own folder, completes no configuration itself.
    """
    if configuration.ensemble_scheduling.step:
        return True
    if not runs_in_python(server, configuration):
        return False
    if configuration.backend != _PYTHON:
        return bool(configuration.backend != _SCHEDULES)
    folder = server.repository / configuration.name if server.repository is not None else None
    return folder is not None and any(folder.rglob("*.py")) and not may_define(folder, _COMPLETES_ITSELF)
