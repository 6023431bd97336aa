"""Wait until a server that was just started is ready, or has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_triton.errors import RequestError, ServerError
from pytest_triton.server.control import ModelControl

POLL = 0.01


def wait_until_ready(control: ModelControl, *, server_id: str, timeout: float, ended: Callable[[], bool]) -> str | None:
    """Poll the server until it is ready; return None then, or else a sentence that says why it is not.

    ``server_id`` is the name it was started under: a stranger who answers on the same port is not it. ``ended`` says
    whether its process is gone, which ends the wait at once. ``timeout`` is in seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        gone = ended()
        if not gone and control.server_ready():
            return _identify(control, server_id)
        if gone:
            return "it ended before it was ready"
        if time.monotonic() > deadline:
            return f"it was not ready after {timeout:g} s"
        time.sleep(POLL)


def _identify(control: ModelControl, server_id: str) -> str | None:
    try:
        name = control.server_metadata().get("name")
    except (RequestError, ServerError) as error:
        return f"it does not say who it is: {error.problem}"
    if name != server_id:
        return f"another server ({name}) answers at {control.address}"
    return None
