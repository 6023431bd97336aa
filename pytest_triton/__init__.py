"""pytest-triton: performance tests for models on NVIDIA Triton Inference Server.

The names below work without pytest too, in a script or a notebook. They are imported on first use, because pytest
imports this package in every run of an environment that it is installed in.

    server = EmbeddedServer(Path("models"), output=Path(".triton"))
    server.start()
    case = Case(Candidate("resnet", {"instance_group.count": 2}), Load(concurrency=4), slo=SLO.parse({"p99": "25ms"}))
    measurement = measure(server, case)
    print(judge(measurement, case.slo).reason)
    server.stop()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_triton.case import Candidate, Case, Inputs, Load, Phases
    from pytest_triton.errors import PytestTritonError, SLOViolation
    from pytest_triton.measurement import Measurement
    from pytest_triton.metrics import Estimate
    from pytest_triton.protocol import Effort, measure
    from pytest_triton.search.values import Powers, Range
    from pytest_triton.server import DockerServer, EmbeddedServer, LocalServer, RemoteServer
    from pytest_triton.slo import SLO, Bound
    from pytest_triton.verdict import Outcome, Verdict, judge

__all__ = [
    "SLO",
    "Bound",
    "Candidate",
    "Case",
    "DockerServer",
    "Effort",
    "EmbeddedServer",
    "Estimate",
    "Inputs",
    "Load",
    "LocalServer",
    "Measurement",
    "Outcome",
    "Phases",
    "Powers",
    "PytestTritonError",
    "Range",
    "RemoteServer",
    "SLOViolation",
    "Verdict",
    "judge",
    "measure",
]

_HOMES = {
    "case": ("Candidate", "Case", "Inputs", "Load", "Phases"),
    "errors": ("PytestTritonError", "SLOViolation"),
    "protocol": ("Effort", "measure"),
    "measurement": ("Measurement",),
    "metrics": ("Estimate",),
    "search.values": ("Powers", "Range"),
    "server": ("DockerServer", "EmbeddedServer", "LocalServer", "RemoteServer"),
    "slo": ("SLO", "Bound"),
    "verdict": ("Outcome", "Verdict", "judge"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"pytest_triton.{module}"), name)
    raise AttributeError(f"module 'pytest_triton' has no attribute {name!r}")
