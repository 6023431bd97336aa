"""The engines, each with every way in which it sends."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pytest_triton.load import Engine, WireEngine
from pytest_triton.load.perf_analyzer import PerfAnalyzerEngine
from pytest_triton.load.tritonclient_engine import TritonclientEngine

PERF_ANALYZER = os.environ.get("PYTEST_TRITON_PERF_ANALYZER") or shutil.which("perf_analyzer") or ""


@dataclass(frozen=True)
class Spoken:
    """An engine and how it sends: a protocol, and whether over a stream."""

    engine: Engine
    protocol: Literal["http", "grpc"]
    streaming: bool = False


def speaking(engine: Engine, *marks: pytest.MarkDecorator) -> list[Any]:
    """Every way to send of an engine, as parameters."""
    return [
        pytest.param(Spoken(engine, "http"), id=f"{engine.name}-http", marks=marks),
        pytest.param(Spoken(engine, "grpc"), id=f"{engine.name}-grpc", marks=marks),
        pytest.param(Spoken(engine, "grpc", streaming=True), id=f"{engine.name}-stream", marks=marks),
    ]


ENGINES = [
    *speaking(WireEngine()),
    *speaking(TritonclientEngine()),
    *speaking(
        PerfAnalyzerEngine(PERF_ANALYZER),
        pytest.mark.skipif(not PERF_ANALYZER, reason="PYTEST_TRITON_PERF_ANALYZER does not say where Perf Analyzer is"),
    ),
]
"""A new engine joins with one line."""

STREAMS = [parameter for parameter in ENGINES if parameter.values[0].streaming]
