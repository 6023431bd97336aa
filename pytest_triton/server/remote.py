"""A server that someone else started: we ask it and measure it, and never end it."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from pytest_triton.errors import OptionError, ServerDied, ServerUnavailable
from pytest_triton.observation import ResourceUsage
from pytest_triton.server.base import Endpoints
from pytest_triton.server.control import ModelControl

HTTP_PORT = 8000


def parse_address(url: str) -> str:
    """Return ``host:port`` of ``http://host:port`` or ``host:port``; the port is 8000 unless it is named.

    Raises ``OptionError`` for anything else.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme in {"https", "grpc", "grpcs"}:
        raise OptionError(
            f"--triton-server={url}: {parts.scheme} is not supported yet",
            hint="Name the server's HTTP endpoint: http://host:port, or host:port.",
        )
    try:
        port = parts.port
    except ValueError:
        port = 0
    if (
        parts.scheme != "http"
        or not parts.hostname
        or port == 0
        or parts.path.strip("/")
        or parts.query
        or parts.username is not None
    ):
        raise OptionError(
            f"--triton-server={url} is not the address of a server",
            hint="Write http://host:port, or host:port.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or HTTP_PORT}"


class RemoteServer:
    """The Triton at ``url``. What its processes use cannot be seen from here, nor its log or its repository."""

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._control = ModelControl(self._address)
        self._version = ""

    @property
    def kind(self) -> str:
        """``remote``."""
        return "remote"

    @property
    def description(self) -> str:
        """One line for the header."""
        return f"remote Triton {self._version} at {self._address}"

    @property
    def version(self) -> str:
        """The server's own version, "" before ``start``."""
        return self._version

    @property
    def endpoints(self) -> Endpoints:
        """Its HTTP endpoint, the only one that is known."""
        return Endpoints(http=self._address)

    @property
    def control(self) -> ModelControl:
        """The client for its control plane."""
        return self._control

    @property
    def repository(self) -> Path | None:
        """None: it lies elsewhere."""
        return None

    @property
    def log(self) -> Path | None:
        """None: it lies elsewhere."""
        return None

    def start(self) -> None:
        """Look whether it is there and ready. Raises ``ServerUnavailable`` when it is not."""
        if not self._control.server_live():
            raise ServerUnavailable(
                f"no Triton answers at http://{self._address}",
                hint="Is it running, and is this the port of its HTTP endpoint (8000 by default)?",
            )
        if not self._control.server_ready():
            raise ServerUnavailable(
                f"the Triton at http://{self._address} is not ready",
                hint="It may still load its models, or one has failed: read its log.",
            )
        self._version = str(self._control.server_metadata().get("version", ""))

    def stop(self) -> None:
        """Do nothing: it is not ours to end."""

    def check(self) -> None:
        """Raise ``ServerDied`` when it does not answer any more."""
        if not self._control.server_live():
            raise ServerDied(f"the Triton at http://{self._address} does not answer any more")

    def usage(self) -> ResourceUsage:
        """Return nothing but the time: its processes cannot be seen from here."""
        return ResourceUsage(at_ns=time.monotonic_ns())

    def alias(self, model: str) -> str | None:
        """None: its repository lies elsewhere."""
        return None
