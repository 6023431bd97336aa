"""Loopback ports: free ones, and who holds a taken one."""

from __future__ import annotations

import contextlib
import socket

from pytest_triton.errors import OptionError

LOOPBACK = "127.0.0.1"


def choose_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Return ``count`` different ports of ``host`` that are free at this moment.

    Another process may take one before it is used; whoever uses them must be ready to choose again. Raises
    ``OptionError`` when this machine has no such address.
    """
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            try:
                each.bind((host, 0))
            except OSError as error:
                raise OptionError(
                    f"this machine cannot listen on {host}: {error.strerror}",
                    hint="--triton-bind takes one of its addresses, or 0.0.0.0 for all of them.",
                ) from error
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether a server could listen on ``port`` now."""
    with socket.socket() as probe:
        # As Triton does: a port in TIME_WAIT can be listened on again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Say which process listens on ``port``: ``"tritonserver, pid 12"``, or "" where that cannot be seen."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        local = connection.laddr
        if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
            except psutil.NoSuchProcess:
                return ""
    return ""
