"""The engines by name."""

from __future__ import annotations

from collections.abc import Callable

from pytest_triton.errors import OptionError, nearest
from pytest_triton.load.base import Engine
from pytest_triton.load.perf_analyzer import PerfAnalyzerEngine
from pytest_triton.load.perf_analyzer_program import Program
from pytest_triton.load.tritonclient_engine import TritonclientEngine
from pytest_triton.load.wire import WireEngine

ENGINES: dict[str, Callable[[int, str | Callable[[], Program]], Engine]] = {
    "wire": lambda workers, _: WireEngine(workers),
    "tritonclient": lambda workers, _: TritonclientEngine(workers),
    "perf_analyzer": lambda _, program: PerfAnalyzerEngine(program),
}


def make_engine(name: str, *, workers: int = 0, perf_analyzer: str | Callable[[], Program] = "") -> Engine:
    """Return the engine that is called ``name``. Raises ``OptionError``.

    ``workers`` processes share a load; 0 leaves it to how busy they are. ``perf_analyzer`` is the path of that
    engine's binary; empty, it is looked for on PATH when a load is opened. Or it finds the program then.
    """
    if name not in ENGINES:
        raise OptionError(f"there is no engine {name!r}", hint=nearest(name, ENGINES))
    return ENGINES[name](workers, perf_analyzer)
