"""A server that someone else started: we ask it and measure it, and never end it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import OptionError, RequestError, ServerDied, ServerUnavailable
from pytest_triton.observation import ResourceUsage
from pytest_triton.server.address import parse_endpoints
from pytest_triton.server.base import Control, Endpoints
from pytest_triton.server.control import PROBE_TIMEOUT, ModelControl
from pytest_triton.server.gpu_watch import GpuSource, add_gpu_memory, choose_source
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.grpc_control import GrpcControl
from pytest_triton.server.options import as_words
from pytest_triton.server.transport import NO_HEADERS, Unreachable, ask

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS


class RemoteServer:
    """The Triton at ``url``. What its processes use cannot be seen from here, nor its log or its repository.

    ``url`` is ``http://host:port`` (or ``https``, ``grpc``, ``grpcs``), or ``host:port`` for HTTP, or one of HTTP and
    one of gRPC with a comma between them, and that of its metrics, ``http://host:port/metrics``; it is controlled over
    HTTP where it can be. ``tls`` says whom to trust and who we are, ``headers`` go along with every request. ``gpus``
    are those of this machine that it uses, where that is known. Raises ``OptionError``.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TLS | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        gpus: GpuChoice | None = None,
    ) -> None:
        self._endpoints = endpoints = parse_endpoints(url, tls=tls, headers=headers)
        if endpoints.tls is not None:
            _require_files(endpoints.tls)
        self._control: Control
        if endpoints.http is not None:
            self._control = ModelControl(endpoints.http, headers=endpoints.headers, tls=endpoints.tls)
        else:
            self._control = GrpcControl(endpoints.address("grpc"), headers=endpoints.headers, tls=endpoints.tls)
        self._gpu_source = choose_source(gpus or GpuChoice(), endpoints)
        self._version = ""

    @property
    def kind(self) -> str:
        """``remote``."""
        return "remote"

    @property
    def description(self) -> str:
        """One line for the header."""
        return f"remote Triton {self._version} at {self._endpoints.http or self._endpoints.grpc}"

    @property
    def version(self) -> str:
        """The server's own version, "" before ``start``."""
        return self._version

    @property
    def endpoints(self) -> Endpoints:
        """Those of its endpoints that ``url`` names."""
        return self._endpoints

    @property
    def control(self) -> Control:
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

    @property
    def options(self) -> Mapping[str, Any]:
        """None: its command line is its owner's."""
        return {}

    @property
    def completes(self) -> bool:
        """True, as far as can be known from here."""
        return True

    def start(self) -> None:
        """Look whether it is there and ready. Raises ``ServerUnavailable`` when it is not."""
        trouble = self._control.trouble()
        if trouble:
            raise ServerUnavailable(f"no Triton answers at {self._url}: {trouble}", hint=self._advise(trouble))
        if not self._control.server_ready():
            raise ServerUnavailable(
                f"the Triton at {self._url} is not ready",
                hint="It may still load its models, or one has failed: read its log.",
            )
        self._require_metrics()
        try:
            self._version = str(self._control.server_metadata()["version"])
        except (RequestError, LookupError, TypeError, ValueError) as error:
            raise ServerUnavailable(f"what answers at {self._url} is no Triton", hint=self._advise("")) from error

    def _require_metrics(self) -> None:
        """Raise ``ServerUnavailable`` where an endpoint of metrics is named that is none."""
        address = self._endpoints.metrics
        if address is None:
            return
        headers, tls = self._endpoints.headers, self._endpoints.tls
        try:
            reply = ask(address, "GET", "/metrics", headers=headers, timeout=PROBE_TIMEOUT, tls=tls)
            trouble = "" if reply.ok else f"HTTP status {reply.status}: {reply.reason}"
        except Unreachable as error:
            trouble = error.reason
        if trouble:
            raise ServerUnavailable(
                f"no metrics come from {address}: {trouble}",
                hint="Is this the port of the server's metrics (8002 by default)? Without it there are no GPU figures.",
            )

    def stop(self) -> None:
        """Do nothing: it is not ours to end."""

    def restart(self, options: Mapping[str, Any]) -> None:
        """Raise ``ServerUnavailable``: it is not ours to end."""
        wanted = " ".join(as_words(options))
        raise ServerUnavailable(
            f"the Triton at {self._url} cannot be started anew" + (f" with {wanted}" if wanted else ""),
            hint="Drop the server's options and restart= from the search, or let pytest-triton start the server.",
        )

    def check(self) -> None:
        """Raise ``ServerDied`` when it does not answer any more."""
        trouble = self._control.trouble()
        if trouble:
            raise ServerDied(f"the Triton at {self._url} does not answer any more: {trouble}")

    def usage(self) -> ResourceUsage:
        """Return nothing but GPU memory, if that is known: its processes cannot be seen from here."""
        return add_gpu_memory(ResourceUsage(at_ns=time.monotonic_ns()), self._gpu_source)

    @property
    def gpu_source(self) -> GpuSource | None:
        """What tells what its GPUs do: NVML where it is said which of this machine they are, else its metrics."""
        return self._gpu_source

    def alias(self, model: str, number: int = 1) -> str | None:
        """None: its repository lies elsewhere."""
        return None

    @property
    def _url(self) -> str:
        """The endpoint that it is controlled over."""
        secure = "s" if self._endpoints.tls is not None else ""
        if self._endpoints.http is not None:
            return f"http{secure}://{self._endpoints.http}"
        return f"grpc{secure}://{self._endpoints.grpc}"

    def _advise(self, trouble: str) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in trouble:
            return "Whom to trust is named with --triton-ca=PATH, the PEM file of a certificate authority."
        if trouble.startswith("HTTP status"):
            told = any(sign in trouble for sign in ("--triton-header", "A proxy answers"))
            return "" if told else "What answers there is no Triton's HTTP endpoint, or stands before it."
        if trouble.startswith("no answer within"):
            return "It may be overloaded, or something between here and there drops what is sent."
        protocol, port = ("HTTP", 8000) if self._endpoints.http is not None else ("gRPC", 8001)
        return f"Is it running, and is this the port of its {protocol} endpoint ({port} by default)?"


def _require_files(tls: TLS) -> None:
    """Raise ``OptionError`` unless a context can be made of the files: better now than as a broken connection."""
    from pytest_triton.load.tls import make_context

    for option, path in (("ca", tls.authorities), ("cert", tls.certificate), ("key", tls.key)):
        if path and not Path(path).is_file():
            raise OptionError(f"--triton-{option}={path}: there is no such file", hint="Name a PEM file.")
    if tls.key and not tls.certificate:
        raise OptionError(f"--triton-key={tls.key} has no certificate", hint="Name it with --triton-cert.")
    try:
        make_context(authorities=tls.authorities)
        make_context(certificate=tls.certificate, key=tls.key)
    except OSError as error:
        which = "ca" if not tls.certificate else "ca, --triton-cert or --triton-key"
        raise OptionError(
            f"--triton-{which} cannot be used: {error.strerror or error}", hint="Each is a PEM file."
        ) from error
