"""Wait until a server that was just started is ready, or has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_triton.errors import RequestError, ServerError
from pytest_triton.server.base import Endpoints
from pytest_triton.server.control import ModelControl
from pytest_triton.server.transport import Unreachable, ask

POLL = 0.01
ANSWER_WITHIN = 1.0


def wait_until_ready(endpoints: Endpoints, *, server_id: str, timeout: float, ended: Callable[[], bool]) -> str | None:
    """Poll the server until it is ready; return None then, or else a sentence that says why it is not.

    ``server_id`` is the name it was started under: a stranger who answers on the same port is not it. ``ended`` says
    whether its process is gone, which ends the wait at once. ``timeout`` is in seconds.
    """
    # The metrics service comes last, and a server that cannot start it ends after it has said that it is ready.
    address = endpoints.address("http")
    waited_for = [(address, "/v2/health/ready")]
    waited_for += [(endpoints.metrics, "/metrics")] if endpoints.metrics is not None else []
    deadline = time.monotonic() + timeout
    while waited_for:
        if ended():
            return "it ended before it was ready"
        if time.monotonic() > deadline:
            return f"it was not ready after {timeout:g} s"
        if _answers(*waited_for[0]):
            del waited_for[0]
        else:
            time.sleep(POLL)
    return _identify(ModelControl(address), server_id)


def _answers(address: str, path: str) -> bool:
    try:
        return ask(address, "GET", path, timeout=ANSWER_WITHIN).ok
    except Unreachable:
        return False


def _identify(control: ModelControl, server_id: str) -> str | None:
    try:
        name = control.server_metadata().get("name")
    except (RequestError, ServerError) as error:
        return f"it does not say who it is: {error.problem}"
    if name != server_id:
        return f"another server ({name}) answers at {control.address}"
    return None
