"""Shared-memory regions of ours by their names, and their end when the process that made them is gone.

Beyond ``owner`` it needs the standard library only. ``main`` is the guard: a process that waits for the end of the one
that made the regions, and then removes what that one could not.

A name carries the process that made it: its id, the namespace which that id belongs to, and when it started, so that
what a dead process left is told apart from what a living one uses.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_triton.owner import is_abandoned, sign

PREFIX = "pytest-triton-"
SHARED_MEMORY = Path("/dev/shm")
ANSWER_WITHIN = 1.0
IN_USE_FOR = 60.0
"""How long a request that is still under way may keep a region, in seconds."""
_POLL = 0.25


def make_name(server: str = "") -> str:
    """Return a name that no other region has. ``server`` is a server's own name.

    One that we started removes, at its end, all blocks whose names begin with its own.
    """
    return sign(server if server.startswith(PREFIX) else f"{PREFIX}memory")


def remove_abandoned() -> None:
    """Remove the blocks of system shared memory that processes of ours left when they were killed."""
    for path in SHARED_MEMORY.glob(f"{PREFIX}*"):
        if is_abandoned(path.name):
            unlink(path.name)


def unlink(name: str) -> None:
    """Remove a block of system shared memory, if it is there and ours to remove."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        (SHARED_MEMORY / name).unlink()


def release(regions: Sequence[Mapping[str, str]], route: Mapping[str, Any] | None) -> None:
    """Remove ``regions`` (``kind`` and ``name`` each) and have the server forget them; what fails is passed over.

    ``route`` is the server's HTTP endpoint: ``address`` (``host:port``), ``headers``, and ``tls``, the fields of
    ``load.base.TLS``, or None. None where the server has no HTTP endpoint.
    """
    for region in regions:
        if region["kind"] == "system":
            unlink(region["name"])
    if route is not None:
        # A server that is gone has forgotten everything.
        with contextlib.suppress(OSError):
            _unregister([(region["kind"], region["name"]) for region in regions], route)


def _unregister(regions: Sequence[tuple[str, str]], route: Mapping[str, Any]) -> None:
    left, deadline = list(regions), time.monotonic() + IN_USE_FOR
    while left and time.monotonic() < deadline:
        left = [(kind, name) for kind, name in left if not _forget(kind, name, route)]
        if left:
            time.sleep(_POLL)


def _forget(kind: str, name: str, route: Mapping[str, Any]) -> bool:
    """Have the server forget a region; return False when it must be asked again. Raises ``OSError``."""
    import http.client

    tls = route["tls"]
    connection = http.client.HTTPConnection(route["address"], timeout=ANSWER_WITHIN)
    with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException):
        if tls is not None:
            connection.connect()
            connection.sock = _wrap(connection.sock, tls, connection.host)
        path = f"/v2/{kind}sharedmemory/region/{quote(name, safe='')}/unregister"
        connection.request("POST", path, body=b"", headers=dict(route["headers"]))
        return not is_in_use(connection.getresponse().read().decode(errors="replace"))
    return True


def is_in_use(reason: str) -> bool:
    """Say whether Triton does not forget a region because a request is still under way that reads or writes it."""
    return "currently in use" in reason


def _wrap(plain: socket.socket, tls: Mapping[str, Any], host: str) -> socket.socket:
    from pytest_triton.load.tls import make_context

    return make_context(**tls).wrap_socket(plain, server_hostname=tls["server_name"] or host)


def main() -> None:
    """Guard the regions of the job on standard input, one line of JSON, until the process that asks is gone.

    The job has ``regions`` and ``route`` for ``release``, and ``parent``, a process id. A second line says that nothing
    is left to do; the end of the input without it, or another parent, that the parent is gone.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(each, signal.SIG_IGN)
    said = b""
    job: Mapping[str, Any] | None = None
    while said.count(b"\n") < 2:
        ready, _, _ = select.select([0], [], [], _POLL)
        piece = os.read(0, 65536) if ready else b""
        said += piece
        if job is None and b"\n" in said:
            job = json.loads(said.partition(b"\n")[0])
        if (ready and not piece) or (job is not None and os.getppid() != job["parent"]):
            if job is not None:
                release(job["regions"], job["route"])
            sys.exit()
