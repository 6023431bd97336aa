"""The models' end before that of their server."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from pytest_triton.errors import ServerError
from pytest_triton.server.control import UNLOAD_POLL, ModelControl, is_present


def unload(address: str, *, within: float, may_finalize: Callable[[str, str], bool]) -> bool:
    """Unload the models of the server at ``address``, all at once, for at most ``within`` seconds, if one has to be.

    ``may_finalize`` says of a model's name and platform whether it may have something to do then. Where none has, all
    are spared it: Triton's Python backend takes more than a second for each instance. Returns whether there was one, or
    the server did not say.
    """
    control = ModelControl(address, timeout=within)
    deadline = time.monotonic() + within
    # What does not unload is killed with the server: the reason no longer matters to anyone.
    with suppress(ServerError):
        loaded = {entry["name"] for entry in control.index() if entry.get("state") == "READY"}
        if not any(may_finalize(name, str(control.metadata(name)["platform"])) for name in loaded):
            return False
        for name in loaded:
            if time.monotonic() < deadline:
                control.begin_unload(name)
        while time.monotonic() < deadline and any(is_present(entry) for entry in control.index()):
            time.sleep(UNLOAD_POLL)
    return True
