"""Where a running server is, as its user writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_triton.errors import OptionError
from pytest_triton.server.base import Endpoints
from pytest_triton.server.transport import NO_HEADERS

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS

_PORTS = {"http": 8000, "https": 443, "grpc": 8001, "grpcs": 443}
_METRICS = "metrics"
_METRICS_PORTS = {"http": 8002, "https": 443}
_HINT = "Write http://host:port, https://host:port, grpc://host:port, grpcs://host:port, or host:port for HTTP."


@dataclass(frozen=True, slots=True)
class _Address:
    scheme: str
    host: str
    port: int
    purpose: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def secure(self) -> bool:
        return self.scheme.endswith("s")


def parse_endpoints(url: str, *, tls: TLS | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Endpoints:
    """Return the endpoints that ``url`` names: one, or HTTP, gRPC and metrics of one server, separated by commas.

    That of its metrics is the one with the path ``/metrics``. Ports are 8000, 8001 and 8002 (443 over TLS) unless they
    are named. ``tls`` says how, where a scheme asks for it. Raises
    ``OptionError`` for anything else.
    """
    # Here, for it brings numpy, which no server of our own waits for.
    from pytest_triton.load.base import TLS

    found = [_parse(url, part.strip()) for part in url.split(",")]
    by_purpose = {each.purpose: each for each in found}
    if len(by_purpose) < len(found):
        raise OptionError(
            f"--triton-server={url} names two endpoints of one protocol",
            hint="One server is measured: name its HTTP and its gRPC endpoint, once each. Of several that share out "
            "requests, name the address that does so, or one of them.",
        )
    if by_purpose.keys() == {_METRICS}:
        raise OptionError(
            f"--triton-server={url} names nothing but metrics", hint="Name its HTTP or its gRPC endpoint, too."
        )
    secure = {each.secure for each in found}
    if len(secure) > 1:
        raise OptionError(
            f"--triton-server={url} mixes TLS and plain connections", hint="Name both endpoints with it, or without."
        )
    if tls is not None and not found[0].secure:
        raise OptionError(
            f"--triton-server={url} is no address for TLS, and certificates are given",
            hint="Write https:// or grpcs://.",
        )
    http, grpc, metrics = (by_purpose.get(purpose) for purpose in ("http", "grpc", _METRICS))
    settled = (tls or TLS()) if found[0].secure else None
    if settled is not None and not settled.verify and grpc is not None:
        raise OptionError(
            f"--triton-server={url}: a gRPC client always checks the server's certificate",
            hint="Trust the server's own certificate instead: --triton-ca=PATH.",
        )
    return Endpoints(
        http=str(http) if http is not None else None,
        grpc=str(grpc) if grpc is not None else None,
        metrics=str(metrics) if metrics is not None else None,
        tls=settled,
        headers=dict(headers),
    )


def _parse(url: str, part: str) -> _Address:
    parts = urlsplit(part if "://" in part else f"http://{part}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or port == 0
        or parts.path.strip("/") not in (("", _METRICS) if parts.scheme in _METRICS_PORTS else ("",))
        or parts.query
        or parts.fragment
    ):
        raise OptionError(f"--triton-server={_without_user(url)} is not the address of a server", hint=_HINT)
    if parts.username is not None:
        raise OptionError(
            f"--triton-server={_without_user(url)}: an address carries no name or password",
            hint='Send them in a header: --triton-header="Authorization: Basic env:NAME".',
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_metrics = parts.path.strip("/") == _METRICS
    ports = _METRICS_PORTS if is_metrics else _PORTS
    purpose = _METRICS if is_metrics else parts.scheme.removesuffix("s")
    return _Address(parts.scheme, host, port or ports[parts.scheme], purpose)


def _without_user(url: str) -> str:
    """Leave out what stands before an ``@``: it may be a password."""
    return ",".join(
        f"{scheme}{slashes}{rest.rpartition('@')[2]}"
        for scheme, slashes, rest in (
            part.partition("://") if "://" in part else ("", "", part) for part in url.split(",")
        )
    )
