"""The address of a server that someone else started."""

import pytest

from pytest_triton.errors import OptionError
from pytest_triton.server.remote import RemoteServer, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:8080", "host:8080"),
        ("http://host:8080/", "host:8080"),
        ("host:8080", "host:8080"),
        ("10.0.0.1:8000", "10.0.0.1:8000"),
        ("http://host", "host:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_good_addresses(url: str, address: str):
    assert parse_address(url) == address
    assert RemoteServer(url).endpoints.http == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("grpc://host:8001", "grpc is not supported yet"),
        ("https://host", "https is not supported yet"),
        ("ftp://host:1", "is not the address of a server"),
        ("http://host:0", "is not the address of a server"),
        ("http://host:99999", "is not the address of a server"),
        ("host:port", "is not the address of a server"),
        ("http://host:8000/v2", "is not the address of a server"),
        ("http://user@host:8000", "is not the address of a server"),
        ("http://", "is not the address of a server"),
    ],
)
def test_bad_addresses_say_what_to_write(url: str, message: str):
    with pytest.raises(OptionError, match=message) as caught:
        parse_address(url)
    assert "http://host:port" in caught.value.hint
