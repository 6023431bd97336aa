"""Servers of the tests' own, on 127.0.0.1, that do what they are told to, with a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable

Behave = Callable[[socket.socket, int], None]
"""What to do with a connection, and which one in turn it is, from 0. It is closed afterwards."""

BODY = b'{"model_name":"m"}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + BODY


class HostileServer:
    """A listening socket and a thread for each of its connections; with ``context`` all of it under TLS."""

    def __init__(self, behave: Behave, *, context: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._turn = 0
        self.spoken: list[str | None] = []
        """Under TLS the protocol that was agreed on, for each connection."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def turns(self) -> int:
        """How many connections said something."""
        return self._turn

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            # The engine tries the address with a connection of its own, which says nothing.
            if not connection.recv(1, socket.MSG_PEEK):
                return
            speaking = connection
            if self._context is not None:
                speaking = self._context.wrap_socket(connection, server_side=True)
                speaking.setblocking(True)
                first = speaking.recv(1)
                if not first:
                    return
                self.spoken.append(speaking.selected_alpn_protocol())
                speaking = _Unread(speaking, first)  # type: ignore[assignment]
            with self._lock:
                turn, self._turn = self._turn, self._turn + 1
            self._behave(speaking, turn)
            if speaking is not connection:
                speaking.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Refuse connections from now on and reset those that are open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Unread:
    """A socket whose first byte has been read already."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self._connection = connection
        self._first = first

    def recv(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first or self._connection.recv(size)

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)

    def shutdown(self, how: int) -> None:
        self._connection.shutdown(how)


def read_request(connection: socket.socket) -> bytes:
    """Read one whole HTTP request and return its body, which is never empty; empty when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    pieces, missing = [body], int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) - len(body)
    while missing:
        piece = connection.recv(65536)
        if not piece:
            return b""
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def answering(*pieces: bytes, pause: float = 0.0) -> Behave:
    """Answer every HTTP request with the same pieces."""

    def behave(connection: socket.socket, turn: int) -> None:
        while read_request(connection):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)

    return behave


def answering_once(data: bytes) -> Behave:
    """Answer one HTTP request and close."""

    def behave(connection: socket.socket, turn: int) -> None:
        if read_request(connection):
            connection.sendall(data)

    return behave
