"""A registry of images on loopback with one image in it, as ``docker pull`` finds it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@contextmanager
def registry(name: str, tag: str, *, size: int) -> Iterator[str]:
    """Serve an image ``name:tag`` whose one layer holds ``size`` bytes; yield what it is pulled by."""
    blobs, manifest = _image(size)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(f"/v2/{name}", tag, blobs, manifest))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}/{name}:{tag}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _image(size: int) -> tuple[dict[str, bytes], bytes]:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        info = tarfile.TarInfo("random")
        info.size = size
        archive.addfile(info, io.BytesIO(os.urandom(size)))
    packed = gzip.compress(layer.getvalue(), 1)
    rootfs = {"type": "layers", "diff_ids": [_digest(layer.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
        "layers": [{"mediaType": _LAYER, "size": len(packed), "digest": _digest(packed)}],
    }
    return {_digest(blob): blob for blob in (config, packed)}, json.dumps(manifest).encode()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _handler(root: str, tag: str, blobs: dict[str, bytes], manifest: bytes) -> type[BaseHTTPRequestHandler]:
    answers = {"/v2/": (b"{}", "application/json")}
    answers |= {f"{root}/manifests/{name}": (manifest, _MANIFEST) for name in (tag, _digest(manifest))}
    answers |= {f"{root}/blobs/{digest}": (blob, "application/octet-stream") for digest, blob in blobs.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            blob, kind = answers.get(self.path, (b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', ""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(blob)))
            if kind:
                self.send_header("Docker-Content-Digest", _digest(blob))
            self.end_headers()
            if body:
                self.wfile.write(blob)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    return Handler
