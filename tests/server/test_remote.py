"""A server that someone else started, over TLS, with a token, and over gRPC."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from python_models import CONFIGURATION, write_echo, write_model
from tls import Certificates, make_certificates, tls_proxy

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.errors import ModelLoadError, RequestError, ServerDied, ServerUnavailable
from pytest_triton.load.base import TLS
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
    def test_a_server_behind_tls_and_a_token_is_controlled_and_measured(
        self, embedded_server: EmbeddedServer, certificates: Certificates, send
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, token=TOKEN) as address:
            server = RemoteServer(
                f"https://{address}", tls=trusted(certificates), headers={"Authorization": f"Bearer {TOKEN}"}
            )
            server.start()
            server.control.load("identity")
            assert send(server.control, "identity").tolist() == [[1, 2, 3]]
            measurement = measure(
                server, Case(Candidate("identity"), Load(concurrency=2), Inputs({"X": (3,)})), effort=SMOKE
            )
            assert not measurement.problems
            assert measurement.requests > 0
            server.check()

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer hunter3"}])
    def test_without_the_right_token_it_says_what_to_send(
        self, embedded_server: EmbeddedServer, certificates: Certificates, headers: dict[str, str]
    ) -> None:
        with tls_proxy(embedded_server.endpoints.address("http"), certificates, token=TOKEN) as address:
            server = RemoteServer(f"https://{address}", tls=trusted(certificates), headers=headers)
            with pytest.raises(ServerUnavailable, match=r"HTTP status 401: who are you\?") as caught:
                server.start()
            assert "--triton-header" in str(caught.value)
            assert "hunter" not in str(caught.value)
            with pytest.raises(RequestError, match="who are you") as refused:
                server.control.metadata("identity")
            assert "--triton-header" in refused.value.hint

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
    def test_it_is_controlled_over_tls(self, secured: EmbeddedServer, certificates: Certificates, send) -> None:
        server = RemoteServer(f"grpcs://{secured.endpoints.grpc}", tls=trusted(certificates, known=True))
        server.start()
        server.control.load("identity")
        assert send(server.control, "identity").tolist() == [[1, 2, 3]]

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
        write_model(repository, "raising", execute='raise ValueError("the model is out of order")')
        write_model(repository, "corrupt", configuration='backend: "python"\ninput [ {{ name: 7 }} ]\n')
        write_model(repository, "idle", configuration=CONFIGURATION)
        write_echo(repository, "echo", SAMPLES)
        server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("output"))
        with ExitStack() as undo:
            undo.callback(server.stop)
            server.start()
            remote = RemoteServer(f"grpc://{server.endpoints.grpc}")
            remote.start()
            assert remote.version == server.version
            for model in ("identity", "raising", "echo"):
                remote.control.load(model)
            yield server.control, remote.control

    def test_questions(self, both: tuple[Control, Control], send) -> None:
        http, grpc = both
        send(grpc, "identity")
        send(http, "identity")
        assert grpc.server_metadata() == http.server_metadata()
        assert grpc.configuration("identity") == http.configuration("identity")
        assert grpc.metadata("identity") == http.metadata("identity")
        assert grpc.statistics("identity") == http.statistics("identity")
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

    def test_a_configuration_is_applied_and_taken_back(self, both: tuple[Control, Control]) -> None:
        http, grpc = both
        configuration = grpc.configuration("identity")
        configuration.max_batch_size = 3
        del configuration.dynamic_batching.preferred_batch_size[:]
        assert grpc.load("identity", configuration) > 0
        assert http.configuration("identity").max_batch_size == 3
        grpc.unload("identity")
        assert not http.model_ready("identity")
        grpc.load("identity")
        assert http.model_ready("identity")

    @pytest.mark.parametrize("ask", ["metadata", "configuration", "statistics"])
    def test_an_unknown_model_is_refused(self, both: tuple[Control, Control], ask: str) -> None:
        for control in both:
            with pytest.raises(RequestError, match="nobody"):
                getattr(control, ask)("nobody")

    def test_refusals_carry_tritons_reason(self, both: tuple[Control, Control], send) -> None:
        said = []
        for control in both:
            with pytest.raises(ModelLoadError) as caught:
                control.load("corrupt")
            said.append(caught.value.problem)
            with pytest.raises(RequestError, match="raising answered a request with an error") as failed:
                send(control, "raising")
            said.append("\n".join([failed.value.problem, *failed.value.details]))
        assert said[0].startswith("Triton refused to load corrupt")
        # Over HTTP the reason is found in the log.
        assert said[2].startswith("Triton refused to load corrupt")
        assert "the model is out of order" in said[1]
        assert said[3] == said[1]


def test_a_grpc_server_that_is_not_there():
    (port,) = choose_ports(1)
    server = RemoteServer(f"grpc://127.0.0.1:{port}")
    with pytest.raises(ServerUnavailable, match=f"no Triton answers at grpc://127.0.0.1:{port}") as caught:
        server.start()
    assert "gRPC endpoint (8001 by default)" in caught.value.hint
    with pytest.raises(ServerDied):
        server.check()
    with pytest.raises(ServerDied, match="is gone"):
        server.control.index()


def test_a_load_needs_the_endpoint_of_its_protocol(embedded_server: EmbeddedServer):
    server = RemoteServer(f"http://{embedded_server.endpoints.http}")
    server.start()
    with pytest.raises(ServerUnavailable, match="grpc endpoint is not known") as caught:
        server.endpoints.address("grpc")
    assert "grpc://host:port" in caught.value.hint
