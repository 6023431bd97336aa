"""One HTTP exchange with Triton: a connection of its own each time, so that any thread may ask.

The control plane asks seldom and waits long (a load may take minutes); it needs no connection pool, and none of the
packages of ``tritonclient``'s HTTP client, whose import alone costs more than starting a server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import RequestError
from pytest_triton.secrecy import mask
from pytest_triton.server.tensors import HEADER_LENGTH

if TYPE_CHECKING:
    import ssl

    from pytest_triton.load.base import TLS

OK = 200
NO_HEADERS: Mapping[str, str] = {}
_MARKUP = re.compile(r"<(style|script|title)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_NO_SECRETS = frozenset({"Content-Type", HEADER_LENGTH})


class Unreachable(Exception):
    """No answer came: nothing listens there, or the connection broke before the answer. ``reason`` says which."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. Header names are in lower case. ``secrets`` are headers of the question, never shown."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether Triton did what it was asked."""
        return self.status == OK

    @property
    def from_triton(self) -> bool:
        """Whether a refusal is in the words of Triton, and not of something before it."""
        return bool(self._said)

    @property
    def reason(self) -> str:
        """Triton's own sentence when it refused, else the start of whatever came back."""
        text = mask(self._said or self.body.decode("utf-8", "replace").strip(), self.secrets)
        if text.startswith("<"):
            text = " ".join(_MARKUP.sub(" ", text).split())
        return text if self._said else text[:500] or "no reason is given"

    @property
    def _said(self) -> str:
        try:
            answer = json.loads(self.body)
        except ValueError:
            return ""
        return str(answer["error"]) if isinstance(answer, dict) and answer.get("error") else ""

    def json(self) -> Any:
        """Return the body as JSON; an empty body is None. Raises ``RequestError`` for anything else."""
        try:
            return json.loads(self.body) if self.body.strip() else None
        except ValueError as error:
            raise RequestError(
                f"the server's answer is not JSON: {mask(self.body.decode('utf-8', 'replace'), self.secrets)[:80]!r}",
                hint="Is this the HTTP endpoint of a Triton?",
            ) from error


def ask(
    address: str,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    timeout: float,
    tls: TLS | None = None,
) -> Reply:
    """Send one request to ``host:port`` and return the answer, whatever its status; over TLS if there is ``tls``.

    ``timeout`` (seconds) bounds the wait for each part of the answer. Raises ``Unreachable``.
    """
    # Here, because it would be half the time of importing this package.
    import http.client

    connection = http.client.HTTPConnection(address, timeout=timeout)
    secrets = {name: value for name, value in headers.items() if name not in _NO_SECRETS}
    try:
        if tls is not None:
            connection.sock = _connect(connection.host, connection.port, timeout, tls)
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        said = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, content, said, secrets)
    except TimeoutError as error:
        raise Unreachable(f"no answer within {timeout:g} s", timed_out=True) from error
    except http.client.BadStatusLine as error:
        # One that is empty is a connection that was closed, which the error says in words.
        reason = "what comes back is not HTTP" if not isinstance(error, OSError) else str(error)
        raise Unreachable(reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(mask(str(error), secrets) or type(error).__name__) from error
    finally:
        connection.close()


def _connect(host: str, port: int, timeout: float, tls: TLS) -> ssl.SSLSocket:
    import socket

    plain = socket.create_connection((host, port), timeout)
    try:
        return _context(tls).wrap_socket(plain, server_hostname=tls.server_name or host)
    except BaseException:
        plain.close()
        raise


@lru_cache
def _context(tls: TLS) -> ssl.SSLContext:
    from pytest_triton.load.tls import make_context

    return make_context(**asdict(tls))
