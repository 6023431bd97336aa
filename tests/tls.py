"""Certificates of the tests' own, and a proxy that speaks TLS and wants to know who asks."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """An authority, a server's certificate for 127.0.0.1, another for ``elsewhere``, and a client's: PEM files."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


def make_certificates(folder: Path) -> Certificates:
    """Make them with ``openssl``: ``ca``, ``server``, ``elsewhere`` and ``client``, the keys with ``_key`` after it."""
    days = ("-days", "2")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(folder, "req", "-x509", *curve, *days, "-subj", "/CN=tests", "-keyout", "ca_key.pem", "-out", "ca.pem")
    for name, subject in (("server", "IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere"), ("client", "DNS:client")):
        _openssl(folder, "req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}_key.pem", "-out", f"{name}.csr")
        (folder / "extensions").write_text(f"subjectAltName = {subject}\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca_key.pem", "-CAcreateserial", "-extfile", "extensions")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, *days, "-out", f"{name}.pem")
    return Certificates(folder)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@contextmanager
def tls_proxy(
    backend: str, certificates: Certificates, *, name: str = "server", token: str = "", mutual: bool = False
) -> Iterator[str]:
    """Serve ``backend``'s (``host:port``) HTTP over TLS; give the ``host:port`` to ask.

    ``name`` says which certificate it shows. It wants ``token`` in every request, and a client's certificate if
    ``mutual``.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                # As some do: what was sent comes back, and must not be shown.
                said = json.dumps({"error": f"who are you, {self.headers.get('Authorization', 'nobody')}?"})
                self.reply(401, said.encode(), {})
                return
            onward = http.client.HTTPConnection(backend, timeout=60)
            passed = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            onward.request(self.command, self.path, body, passed)
            answer = onward.getresponse()
            kept = {
                key: value for key, value in answer.getheaders() if key.lower().startswith(("content-type", "infer"))
            }
            self.reply(answer.status, answer.read(), kept)
            onward.close()

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: ssl.SSLSocket, address: object) -> None:
            # Here, in a thread of its own: a handshake that fails is the client's trouble.
            try:
                request.do_handshake()
                super().finish_request(request, address)
            except OSError:
                return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(getattr(certificates, name), getattr(certificates, f"{name}_key"))
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
