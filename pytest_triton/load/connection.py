"""Sockets that connect, plain or under TLS, and what is common to the connections of both protocols.

Standard library only: the worker imports this.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from pytest_triton.load.tls_socket import TLSSocket

NO_SOCKET = socket.socket()
NO_SOCKET.close()
NOTHING = memoryview(b"")
BOTH = select.EPOLLIN | select.EPOLLOUT


@dataclass(slots=True)
class Target:
    """The server: its name, its address once it was reached, and how to secure a connection to it."""

    host: str
    port: int
    context: ssl.SSLContext | None = None
    server_name: str = ""
    family: socket.AddressFamily = socket.AF_INET
    sockaddr: Any = None

    @property
    def name(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    def reach(self, seconds: float) -> None:
        """Find the address that answers: a name may mean several, and a server listen on one of them."""
        failure: OSError | None = None
        for family, _, _, _, sockaddr in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.settimeout(seconds)
                try:
                    trial.connect(sockaddr)
                    if self.context is not None:
                        # What is wrong with a certificate is wrong with it every time: say so before the load.
                        self.context.wrap_socket(trial, server_hostname=self.server_name or self.host).close()
                except OSError as error:
                    failure = error
                else:
                    self.family, self.sockaddr = family, sockaddr
                    return
        raise failure or OSError(errno.EADDRNOTAVAIL, f"{self.host} has no address")


class Socket:
    """A socket that connects without waiting, then shakes hands where TLS is asked for."""

    __slots__ = ("_raw", "_target", "_tls", "fd", "recv_into", "send")

    def __init__(self, target: Target) -> None:
        """Begin to connect. Raises ``OSError`` when that is refused at once."""
        self._target = target
        self._tls: TLSSocket | None = None
        self._raw = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self._raw.fileno()
        self.recv_into: Any = self._raw.recv_into
        self.send: Any = self._raw.send
        refused = self._raw.connect_ex(target.sockaddr)
        if refused not in (0, errno.EINPROGRESS):
            self.close()
            raise OSError(refused, os.strerror(refused))

    def connect_on(self, events: int) -> int:
        """Go on connecting after epoll's ``events``; return the events to wait for, 0 when the connection is there.

        Raises ``OSError`` when it is refused.
        """
        if self._tls is None:
            refused = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise OSError(refused, os.strerror(refused))
            if not events & select.EPOLLOUT:
                return BOTH
            if self._target.context is None:
                return 0
            name = self._target.server_name or self._target.host
            self._tls = TLSSocket(self._raw, self._target.context, name)
            self.recv_into, self.send = self._tls.recv_into, self._tls.send
        if self._tls.shake_hands():
            return 0
        return select.EPOLLOUT if self._tls.wants_to_write else select.EPOLLIN

    def close(self) -> None:
        """Close it, which takes it out of every epoll set, too."""
        (self._tls or self._raw).close()


def describe(error: OSError) -> str:
    """Say what the system, or TLS, says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return error.strerror or str(error)
