"""A TLS connection that never blocks, with a socket's own interface. Standard library only: the worker's."""

from __future__ import annotations

import socket
import ssl


class TLSSocket:
    """A connected socket under TLS; a call that would block raises ``BlockingIOError``.

    A read returns at most one record of TLS; a buffer of 16 KiB takes any, so that nothing waits unseen by epoll.
    """

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self._socket = context.wrap_socket(connected, server_hostname=server_name, do_handshake_on_connect=False)
        self.wants_to_write = False
        """Whether the handshake waits for room to write, not for something to read."""

    def shake_hands(self) -> bool:
        """Go on with the handshake; True when it is done. Raises ``OSError`` when it failed."""
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self.wants_to_write = False
            return False
        except ssl.SSLWantWriteError:
            self.wants_to_write = True
            return False
        return True

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        """Read as ``socket.recv_into`` does; 0 when the peer ended the connection, properly or not."""
        try:
            return self._socket.recv_into(buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0

    def send(self, data: bytes | memoryview) -> int:
        """Write as ``socket.send`` does."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
