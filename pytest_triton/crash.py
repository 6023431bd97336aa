"""What a model that crashed left behind: one sentence for the candidate's row."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_triton.errors import PytestTritonError, RequestError, ServerDied, ServerError
from pytest_triton.server.base import Server
from pytest_triton.server.log import plain, read_tail, telling_lines

_PROCESS_GONE = "is not healthy"
_FATAL = re.compile(
    r"Fatal Python error: |terminate called|what\(\): |Segmentation fault|Signal \(\d+\) received|Killed"
)


def describe_crash(error: PytestTritonError, server: Server) -> str:
    """Say how the server, or the model's process in it, ended, with the last telling line of the log.

    "" when ``error`` is about something else. Only of a server of ours is the log known.
    """
    if isinstance(error, ServerDied):
        how = error.problem
    elif isinstance(error, ServerError) and _PROCESS_GONE in f"{error.problem} {error.hint} {' '.join(error.details)}":
        at = "at a request" if isinstance(error, RequestError) else "while it was loaded"
        how = f"the model's process ended {at}"
    else:
        return ""
    line = _telling(server.log) if server.log is not None else ""
    return f"{how}: {line}" if line else how


def _telling(log: Path) -> str:
    fatal = [line for line in read_tail(log) if _FATAL.search(line)]
    lines = fatal or [line for line in telling_lines(log) if _PROCESS_GONE not in line]
    return plain(lines[-1]) if lines else ""
