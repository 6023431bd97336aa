"""``tritonclient``'s own client for the running server, for functional asserts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS
    from pytest_triton.server.base import Endpoints

CONNECT_WITHIN = 60.0
ANSWER_WITHIN = 600.0


def open_client(endpoints: Endpoints) -> Any:
    """Return an ``InferenceServerClient``: ``tritonclient.http``'s, or ``tritonclient.grpc``'s where HTTP is not known.

    It sends the endpoints' headers along.
    """
    if endpoints.http is not None:
        from tritonclient.http import InferenceServerClient

        client = InferenceServerClient(
            endpoints.http,
            connection_timeout=CONNECT_WITHIN,
            network_timeout=ANSWER_WITHIN,
            **({} if endpoints.tls is None else _http_security(endpoints.tls)),
        )
    else:
        from tritonclient.grpc import InferenceServerClient

        client = InferenceServerClient(
            endpoints.address("grpc"), **({} if endpoints.tls is None else _grpc_security(endpoints.tls))
        )
    if endpoints.headers:
        client.register_plugin(_plugin(endpoints))
    return client


def _http_security(tls: TLS) -> Mapping[str, Any]:
    options = {"ca_certs": tls.authorities} if tls.authorities else {}
    if tls.certificate:
        options |= {"certfile": tls.certificate, "keyfile": tls.key or tls.certificate}
    if tls.server_name:
        options["server_hostname"] = tls.server_name
    return {"ssl": True, "ssl_options": options, "insecure": not tls.verify}


def _grpc_security(tls: TLS) -> Mapping[str, Any]:
    return {
        "ssl": True,
        "root_certificates": tls.authorities or None,
        "private_key": tls.key or tls.certificate or None,
        "certificate_chain": tls.certificate or None,
    }


def _plugin(endpoints: Endpoints) -> Any:
    from tritonclient._plugin import InferenceServerClientPlugin

    class Headers(InferenceServerClientPlugin):  # type: ignore[misc]
        """Adds the endpoints' headers to every request."""

        def __call__(self, request: Any) -> None:
            # Over gRPC no name may have capitals, and over HTTP none needs them.
            ours = {name.lower(): value for name, value in endpoints.headers.items()}
            request.headers = {**ours, **(request.headers or {})}

    return Headers()
