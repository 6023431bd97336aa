"""The models' end before that of their server."""

from __future__ import annotations

import time

from pytest_triton.errors import ServerError
from pytest_triton.server.control import UNLOAD_POLL, ModelControl, is_present


def unload_all(address: str, *, within: float) -> None:
    """Let the models of the server at ``address`` finalize, all at once, for at most ``within`` seconds.

    Triton's Python backend takes more than a second for each instance.
    """
    control = ModelControl(address, timeout=within)
    deadline = time.monotonic() + within
    try:
        for entry in control.index():
            if entry.get("state") == "READY" and time.monotonic() < deadline:
                control.begin_unload(entry["name"])
        while time.monotonic() < deadline and any(is_present(entry) for entry in control.index()):
            time.sleep(UNLOAD_POLL)
    except ServerError:
        # What does not unload is killed with the server: the reason no longer matters to anyone.
        return
