"""What is told of a request never shows the values of its headers."""

import pytest

from pytest_triton.secrecy import mask
from pytest_triton.server.transport import Reply

HEADERS = {"Authorization": "Bearer hunter2", "X-Team": "vision", "X-Part": "2"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no such user: hunter2", "no such user: ***"),
        ("no such user: Bearer hunter2!", "no such user: ***!"),
        ("team vision has no access, and hunter2 neither", "team *** has no access, and *** neither"),
        ("2 of 3 are there", "2 of 3 are there"),
        ("", ""),
    ],
)
def test_values_are_left_out(said: str, shown: str) -> None:
    assert mask(said, HEADERS) == shown


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": "who is hunter2?"}', "who is ***?"),
        (b"<html><head><title>401</title><style>p {}</style></head><p>who is hunter2?</p></html>", "who is ***?"),
        (b"who is hunter2?", "who is ***?"),
        (b"", "no reason is given"),
    ],
)
def test_a_refusal_is_told_without_them_and_without_markup(body: bytes, reason: str) -> None:
    reply = Reply(401, body, secrets=HEADERS)
    assert reply.reason == reason
    assert reply.from_triton == body.startswith(b"{")
    assert "hunter" not in repr(Reply(200, b"{}", secrets=HEADERS))
