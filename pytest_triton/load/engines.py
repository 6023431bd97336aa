"""The engines by name."""

from __future__ import annotations

from collections.abc import Callable

from pytest_triton.errors import OptionError, nearest
from pytest_triton.load.base import Engine
from pytest_triton.load.tritonclient_engine import TritonclientEngine
from pytest_triton.load.wire import WireEngine

ENGINES: dict[str, Callable[[], Engine]] = {"wire": WireEngine, "tritonclient": TritonclientEngine}


def make_engine(name: str) -> Engine:
    """Return the engine that is called ``name``. Raises ``OptionError``."""
    if name not in ENGINES:
        raise OptionError(f"there is no engine {name!r}", hint=nearest(name, ENGINES))
    return ENGINES[name]()
