"""Where a server that someone else started is, and how it is known."""

from pathlib import Path

import pytest

from pytest_triton.errors import OptionError, ServerUnavailable
from pytest_triton.load.base import TLS
from pytest_triton.server.address import parse_endpoints
from pytest_triton.server.base import Endpoints
from pytest_triton.server.grpc_control import GrpcControl
from pytest_triton.server.headers import read_headers
from pytest_triton.server.remote import RemoteServer


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("http://host:8080", Endpoints("host:8080")),
        ("http://host:8080/", Endpoints("host:8080")),
        ("host:8080", Endpoints("host:8080")),
        ("10.0.0.1:8000", Endpoints("10.0.0.1:8000")),
        ("http://host", Endpoints("host:8000")),
        ("http://[::1]:8000", Endpoints("[::1]:8000")),
        ("https://host:8443", Endpoints("host:8443", tls=TLS())),
        ("https://host", Endpoints("host:443", tls=TLS())),
        ("grpc://host:9001", Endpoints(None, "host:9001")),
        ("grpc://host", Endpoints(None, "host:8001")),
        ("grpcs://host:9001", Endpoints(None, "host:9001", tls=TLS())),
        ("http://host:8000,grpc://host:8001", Endpoints("host:8000", "host:8001")),
        ("grpcs://a:8001, https://b:8000", Endpoints("b:8000", "a:8001", tls=TLS())),
        ("http://host,http://host/metrics", Endpoints("host:8000", metrics="host:8002")),
        ("grpcs://host,https://host:9/metrics/", Endpoints(None, "host:443", "host:9", tls=TLS())),
    ],
)
def test_good_addresses(url: str, endpoints: Endpoints):
    assert parse_endpoints(url) == endpoints
    assert RemoteServer(url).endpoints == endpoints


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host:1", "is not the address of a server"),
        ("http://host:0", "is not the address of a server"),
        ("http://host:99999", "is not the address of a server"),
        ("host:port", "is not the address of a server"),
        ("http://host:8000/v2", "is not the address of a server"),
        ("http://", "is not the address of a server"),
        ("http://host:8000,", "is not the address of a server"),
        ("http://a:1,http://b:1", "two endpoints of one protocol"),
        ("http://a:1,https://b:1", "two endpoints of one protocol"),
        ("http://a:1,grpcs://b:1", "mixes TLS and plain connections"),
        ("http://a:1/metrics", "names nothing but metrics"),
        ("grpc://a:1/metrics", "is not the address of a server"),
        ("http://a:1,http://b:2/metrics,http://c:2/metrics", "two endpoints of one protocol"),
    ],
)
def test_bad_addresses_say_what_to_write(url: str, message: str):
    with pytest.raises(OptionError, match=message) as caught:
        parse_endpoints(url)
    assert caught.value.hint


@pytest.mark.parametrize("url", ["http://me:hunter2@host:80", "http://me:hunter2@host/path", "x:hunter2@h:1"])
def test_a_password_in_an_address_is_refused_and_not_shown(url: str):
    with pytest.raises(OptionError) as caught:
        parse_endpoints(url)
    assert "hunter2" not in str(caught.value)


def test_certificates_for_a_plain_connection_are_refused():
    with pytest.raises(OptionError, match="no address for TLS") as caught:
        parse_endpoints("http://host:8000", tls=TLS(authorities="ca.pem"))
    assert "https://" in caught.value.hint


def test_grpc_cannot_leave_the_certificate_unchecked():
    assert parse_endpoints("https://host", tls=TLS(verify=False)).tls == TLS(verify=False)
    with pytest.raises(OptionError, match="always checks"):
        parse_endpoints("grpcs://host", tls=TLS(verify=False))


def test_the_endpoint_that_is_not_known_says_how_to_name_it():
    with pytest.raises(ServerUnavailable, match="grpc endpoint is not known") as caught:
        parse_endpoints("https://host:8443").address("grpc")
    assert "grpcs://host:port" in caught.value.hint
    assert parse_endpoints("grpc://host:1").address("grpc") == "host:1"


def test_files_for_tls_must_be_there_and_be_certificates(tmp_path: Path):
    (tmp_path / "no.pem").write_text("nothing")
    for tls, message in (
        (TLS(authorities=str(tmp_path / "missing.pem")), r"--triton-ca=.*there is no such file"),
        (TLS(certificate=str(tmp_path / "missing.pem")), r"--triton-cert=.*there is no such file"),
        (TLS(authorities=str(tmp_path / "no.pem")), "--triton-ca cannot be used"),
        (TLS(certificate=str(tmp_path / "no.pem")), "--triton-cert or --triton-key cannot be used"),
        (TLS(key=str(tmp_path / "no.pem")), "has no certificate"),
    ):
        with pytest.raises(OptionError, match=message):
            RemoteServer("https://host", tls=tls)


def test_a_server_without_http_is_controlled_over_grpc():
    assert isinstance(RemoteServer("grpc://host").control, GrpcControl)
    assert not isinstance(RemoteServer("grpc://host,http://host").control, GrpcControl)


class TestHeaders:
    @pytest.fixture(autouse=True)
    def _secrets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", "hunter2")
        monkeypatch.delenv("ABSENT", raising=False)
        (tmp_path / "token").write_text("hunter3\n")
        (tmp_path / "broken").write_text("hunter4\nhunter5")
        (tmp_path / "empty").write_text("\n")

    @pytest.mark.parametrize(
        ("line", "headers"),
        [
            ("X-Team: vision", {"X-Team": "vision"}),
            ("X-Team:vision: red", {"X-Team": "vision: red"}),
            ("Authorization: env:TOKEN", {"Authorization": "hunter2"}),
            ("Authorization: Bearer env:TOKEN", {"Authorization": "Bearer hunter2"}),
            ("Authorization: Bearer file:token", {"Authorization": "Bearer hunter3"}),
            ("X-Path: notenv:TOKEN", {"X-Path": "notenv:TOKEN"}),
        ],
    )
    def test_a_value_may_come_from_elsewhere(self, line: str, headers: dict[str, str], tmp_path: Path) -> None:
        assert read_headers([line], base=tmp_path) == headers

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("hunter2", "a header without a name"),
            ("Bad Name: hunter2", "a header without a name"),
            ("Host: hunter2", "Host is no header to set"),
            ("content-length: 3", "content-length is no header to set"),
            ("x-trace-bin: hunter2", "x-trace-bin is no header to set"),
            ("Authorization: Bearer env:ABSENT", "environment variable ABSENT, which is not set"),
            ("Authorization: file:absent", "absent, which cannot be read: No such file"),
            ("Authorization: file:broken", "the value of Authorization cannot be sent"),
            ("Authorization: Bearer file:empty", "the value of Authorization cannot be sent"),
            ("Authorization: file:empty", "the value of Authorization cannot be sent"),
            ("Authorization: ", "the value of Authorization cannot be sent"),
        ],
    )
    def test_what_cannot_be_sent_is_refused_without_its_value(self, line: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=message) as caught:
            read_headers([line], base=tmp_path)
        assert "hunter" not in str(caught.value)

    def test_no_value_is_ever_shown(self, tmp_path: Path) -> None:
        server = RemoteServer("http://host", headers=read_headers(["Authorization: env:TOKEN"], base=tmp_path))
        assert server.endpoints.headers == {"Authorization": "hunter2"}
        assert "hunter2" not in repr(server.endpoints) + repr(vars(server)) + server.description
