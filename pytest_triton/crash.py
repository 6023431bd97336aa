"""What a model that crashed left behind: one sentence for the candidate's row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pytest_triton.errors import (
    EngineError,
    MeasurementError,
    PytestTritonError,
    RequestError,
    ServerDied,
    ServerError,
)
from pytest_triton.server.base import Server
from pytest_triton.server.log import plain, read_tail, reports_error

_PROCESS_GONE = "is not healthy"
_LOADING = '] "loading: '
_FATAL = re.compile(
    r"Fatal Python error: |terminate called|what\(\): |Segmentation fault|Signal \(\d+\) received|Killed"
)


def find_death(error: PytestTritonError, server: Server) -> ServerDied | None:
    """Return the death of the server that ``error`` tells of, or comes from; None where it still runs."""
    if isinstance(error, ServerDied):
        return error
    if not isinstance(error, EngineError | MeasurementError):
        return None
    try:
        server.control.server_metadata()
        server.check()
    except ServerDied as death:
        return death
    except PytestTritonError:
        return None
    return None


def describe_crash(error: PytestTritonError, server: Server) -> str:
    """Say how the server, or the model's process in it, ended, with the last telling line of the log.

    "" when ``error`` is about something else. Only of a server of ours is the log known.
    """
    death = find_death(error, server)
    if death is not None:
        how = death.problem
    elif isinstance(error, ServerError) and _PROCESS_GONE in f"{error.problem} {error.hint} {' '.join(error.details)}":
        at = "at a request" if isinstance(error, RequestError) else "while it was loaded"
        how = f"the model's process ended {at}"
    else:
        return ""
    return _with_cause(how, server)


def describe_crash_under_load(problems: Iterable[str], server: Server) -> str:
    """Say the same of a measurement that is not valid for its ``problems``; "" when none of them is a crash."""
    if not any(_PROCESS_GONE in problem for problem in problems):
        return ""
    return _with_cause("the model's process ended under load", server)


def _with_cause(how: str, server: Server) -> str:
    line = _telling(server.log) if server.log is not None else ""
    return f"{how}: {line}" if line else how


def _telling(log: Path) -> str:
    """Return what the log says last about an error since a model was loaded, "" if nothing."""
    lines = read_tail(log)
    last = max((place for place, line in enumerate(lines) if _LOADING in line), default=0)
    fatal = [line for line in lines[last:] if _FATAL.search(line)]
    errors = [line for line in lines[last:] if reports_error(line) and _PROCESS_GONE not in line]
    found = fatal or errors
    return plain(found[-1]) if found else ""
