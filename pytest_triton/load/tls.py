"""TLS towards a server. Standard library only: the processes that send a load import this, too."""

from __future__ import annotations

import ssl
from collections.abc import Sequence


def make_context(
    *,
    authorities: str = "",
    certificate: str = "",
    key: str = "",
    verify: bool = True,
    server_name: str = "",
    protocols: Sequence[str] = (),
) -> ssl.SSLContext:
    """Return a client's context from the fields of ``load.base.TLS``.

    ``server_name`` belongs to a connection and changes nothing here: ``context.wrap_socket`` takes it. ``protocols``
    are offered by ALPN: ``("h2",)`` for gRPC. Raises ``OSError`` (of which ``ssl.SSLError`` is one) for a
    file that cannot be read or is not what it should be.
    """
    context = ssl.create_default_context(cafile=authorities or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key or None)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
