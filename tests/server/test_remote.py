"""A server that someone else started: who it is, who we are, and what is said over gRPC."""

import contextlib
import itertools
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from python_models import CONFIGURATION, write_echo, write_model
from serving import serve, settled_statistics
from tls import Certificates, make_certificates, tls_proxy

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.errors import MeasurementError, RequestError, ServerDied, ServerUnavailable
from pytest_triton.load import Engine, Plan, Request, RequestSet, WireEngine
from pytest_triton.load.base import TLS
from pytest_triton.load.tritonclient_engine import TritonclientEngine
from pytest_triton.protocol import SMOKE, measure
from pytest_triton.server import EmbeddedServer, RemoteServer
from pytest_triton.server.base import Control
from pytest_triton.server.ports import choose_ports

TOKEN = "hunter2"
SAMPLES = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([[-128, 127]], np.int8),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "FP16": np.array([[0.5, -2.0]], np.float16),
    "BF16": np.array([[0.5, -2.0]], np.float32),
    "FP64": np.array([[1e300, 0.1]]),
    "BYTES": np.array([[b"", b"\x00\xff"]], np.object_),
}

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server whose gRPC endpoint speaks TLS and wants a client's certificate."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "identity")
    server = EmbeddedServer(
        repository,
        output=tmp_path_factory.mktemp("output"),
        arguments=[
            "--grpc-use-ssl-mutual=1",
            f"--grpc-server-cert={certificates.server}",
            f"--grpc-server-key={certificates.server_key}",
            f"--grpc-root-cert={certificates.ca}",
        ],
    )
    with ExitStack() as undo:
        undo.callback(server.stop)
        server.start()
        yield server


def trusted(certificates: Certificates, *, known: bool = False) -> TLS:
    """Trust the tests' authority; be ``known`` by a certificate of our own."""
    own = {"certificate": certificates.client, "key": certificates.client_key} if known else {}
    return TLS(authorities=certificates.ca, **own)


@needs_openssl
class TestHttps:
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer hunter3"}])
    def test_without_the_right_token_it_says_what_to_send(
        self, embedded_server: EmbeddedServer, certificates: Certificates, headers: dict[str, str]
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, token=TOKEN) as address:
            server = RemoteServer(f"https://{address}", tls=trusted(certificates), headers=headers)
            with pytest.raises(ServerUnavailable, match=r"HTTP status 401: who are you, (nobody|\*\*\*)\?") as caught:
                server.start()
            assert "--triton-header" in str(caught.value)
            assert "hunter" not in str(caught.value)
            with pytest.raises(RequestError, match="who are you") as refused:
                server.control.metadata("identity")
            assert "--triton-header" in refused.value.hint

    @pytest.mark.parametrize("engine", [WireEngine(), TritonclientEngine()], ids=lambda engine: engine.name)
    def test_what_comes_back_of_a_token_under_load_is_not_shown(
        self, embedded_server: EmbeddedServer, certificates: Certificates, engine: Engine
    ) -> None:
        request = Request("identity", {"X": np.zeros((1, 3), np.float32)}, {"X": "FP32"})
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, token=TOKEN) as address:
            plan = Plan(
                address,
                Load(concurrency=1),
                RequestSet.of(request),
                headers={"Authorization": "Bearer hunter3"},
                tls=trusted(certificates),
            )
            with engine.open(plan) as session:
                session.start()
                trace = session.collect(seconds=0.1, requests=1)
        assert "who are you, ***?" in trace.reasons[401]
        assert "hunter" not in repr(trace.reasons)

    def test_a_stranger_is_not_trusted_unless_told_to(
        self, embedded_server: EmbeddedServer, certificates: Certificates
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates) as address:
            with pytest.raises(ServerUnavailable, match="certificate verify failed") as caught:
                RemoteServer(f"https://{address}").start()
            assert "--triton-ca" in caught.value.hint
            RemoteServer(f"https://{address}", tls=TLS(verify=False)).start()

    def test_a_certificate_for_another_host_is_refused(
        self, embedded_server: EmbeddedServer, certificates: Certificates
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, name="elsewhere") as address:
            with pytest.raises(ServerUnavailable, match=r"certificate is not valid for '127\.0\.0\.1'"):
                RemoteServer(f"https://{address}", tls=trusted(certificates)).start()
            RemoteServer(f"https://{address}", tls=TLS(authorities=certificates.ca, server_name="elsewhere")).start()

    def test_a_server_may_want_our_certificate(
        self, embedded_server: EmbeddedServer, certificates: Certificates
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, mutual=True) as address:
            with pytest.raises(ServerUnavailable):
                RemoteServer(f"https://{address}", tls=trusted(certificates)).start()
            RemoteServer(f"https://{address}", tls=trusted(certificates, known=True)).start()

    def test_a_plain_server_is_not_asked_over_tls(self, embedded_server: EmbeddedServer) -> None:
        with pytest.raises(ServerUnavailable, match="no Triton answers at https://"):
            RemoteServer(f"https://{embedded_server.endpoints.http}").start()


@needs_openssl
class TestGrpcs:
    def test_who_is_not_known_is_refused(self, secured: EmbeddedServer, certificates: Certificates) -> None:
        with pytest.raises(ServerUnavailable, match="no Triton answers at grpcs://"):
            RemoteServer(f"grpcs://{secured.endpoints.grpc}", tls=trusted(certificates)).start()
        with pytest.raises(ServerUnavailable, match="no Triton answers at grpcs://"):
            RemoteServer(f"grpcs://{secured.endpoints.grpc}").start()


class TestControlOverGrpc:
    """What is said over gRPC is what is said over HTTP."""

    @pytest.fixture(scope="class")
    @staticmethod
    def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Control, Control]]:
        repository = tmp_path_factory.mktemp("repository")
        write_model(repository, "identity")
        write_model(repository, "idle", configuration=CONFIGURATION)
        write_echo(repository, "echo", SAMPLES)
        server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("output"))
        with ExitStack() as undo:
            undo.callback(server.stop)
            server.start()
            remote = RemoteServer(f"grpc://{server.endpoints.grpc}")
            remote.start()
            assert remote.version == server.version
            for model in ("identity", "echo"):
                remote.control.load(model)
            yield server.control, remote.control

    def test_questions(self, both: tuple[Control, Control], send) -> None:
        http, grpc = both
        send(grpc, "identity")
        send(http, "identity")
        assert grpc.server_metadata() == http.server_metadata()
        assert grpc.configuration("identity") == http.configuration("identity")
        assert grpc.metadata("identity") == http.metadata("identity")
        assert settled_statistics(grpc, "identity") == http.statistics("identity")
        assert grpc.statistics("identity").success_count == 2
        assert grpc.all_statistics() == http.all_statistics()
        assert grpc.model_ready("identity")
        assert not grpc.model_ready("idle")
        by_name = [sorted(control.index(), key=lambda entry: str(entry["name"])) for control in (grpc, http)]
        assert by_name[0] == by_name[1]

    def test_tensors(self, both: tuple[Control, Control]) -> None:
        inputs = {f"IN_{kind}": array for kind, array in SAMPLES.items()}
        kinds = {f"IN_{kind}": kind for kind in SAMPLES}
        answers = [control.infer("echo", inputs, kinds) for control in both]
        for kind, array in SAMPLES.items():
            for answer in answers:
                np.testing.assert_array_equal(answer[f"OUT_{kind}"], array)


@pytest.mark.parametrize(("scheme", "endpoint"), [("http", "HTTP endpoint (8000"), ("grpc", "gRPC endpoint (8001")])
def test_a_server_that_is_not_there(scheme: str, endpoint: str) -> None:
    (port,) = choose_ports(1)
    server = RemoteServer(f"{scheme}://127.0.0.1:{port}")
    with pytest.raises(ServerUnavailable, match=f"no Triton answers at {scheme}://127.0.0.1:{port}") as caught:
        server.start()
    assert f"{endpoint} by default)" in caught.value.hint
    with pytest.raises(ServerDied):
        server.check()
    with pytest.raises(ServerDied, match="is gone"):
        server.control.index()


@contextmanager
def answering(answer: Callable[[], str], forward: bool) -> Iterator[str]:
    """Listen on loopback; hand each connection on to the address that ``answer`` gives, or answer it with that text."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if forward:
                    host, _, port = answer().partition(":")
                    server = socket.create_connection((host, int(port)))
                    for ends in ((client, server), (server, client)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()
                else:
                    client.recv(65536)
                    client.sendall(answer().encode())
                    client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "what answers at http://.* is no Triton", "8000"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404", "is no Triton's HTTP endpoint"),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 22\r\n\r\n<p>503 Unavailable</p>",
            "HTTP status 503: 503 Unavailable. A proxy answers in the server's place",
            "",
        ),
        ("SSH-2.0-OpenSSH\r\n", "what comes back is not HTTP", "8000"),
        ("", "no Triton answers", "8000"),
    ],
)
def test_what_is_no_triton_is_told(answer: str, message: str, hint: str) -> None:
    with answering(lambda: answer, forward=False) as address, pytest.raises(ServerUnavailable, match=message) as caught:
        RemoteServer(address).start()
    assert hint in caught.value.hint


def test_what_is_no_endpoint_of_metrics_is_told(embedded_server: EmbeddedServer) -> None:
    http = embedded_server.endpoints.http
    with pytest.raises(ServerUnavailable, match=f"no metrics come from {http}: HTTP status 404"):
        RemoteServer(f"http://{http},http://{http}/metrics").start()


def test_of_several_servers_behind_an_address_only_what_the_client_sees_is_told(
    embedded_server: EmbeddedServer, python_models: Path, tmp_path: Path
) -> None:
    with serve(python_models, tmp_path, "identity") as other:
        addresses = itertools.cycle([embedded_server.endpoints.address("http"), other.endpoints.address("http")])
        with answering(lambda: next(addresses), forward=True) as address:
            server = RemoteServer(address)
            server.start()
            case = Case(Candidate("identity"), Load(concurrency=4), Inputs({"X": (3,)}))
            measurement = measure(server, case, effort=replace(SMOKE, seconds=0.5, requests=200))
            assert not measurement.problems
            assert "throughput" in measurement.metrics
            assert "server_queue" not in measurement.metrics
            with pytest.raises(MeasurementError, match="does not serve the configuration") as caught:
                measure(server, replace(case, candidate=Candidate("identity", {"max_batch_size": 4})), effort=SMOKE)
            assert "several servers share its address" in caught.value.hint
