"""The HTTP parser: any bytes, in any pieces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_triton.load.http_parser import (
    BLOCK_LIMIT,
    CHUNKED,
    UNTIL_CLOSE,
    AnswerParser,
    Head,
    MalformedAnswer,
    parse_head,
)

OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\n"
ANSWERS = {
    "counted": OK_HEAD + b"hello",
    "error": b'HTTP/1.1 400 Bad Request\r\ncontent-length: 15\r\n\r\n{"error":"why"}',
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + OK_HEAD + b"after",
}


@dataclass(frozen=True)
class Seen:
    status: int
    received: int
    closes: bool
    kept: bytes


def read(pieces: list[bytes]) -> list[Seen | str]:
    """Read a connection's bytes as answers that follow each other, up to its end or the first nonsense."""
    parser = AnswerParser()
    seen: list[Seen | str] = []
    try:
        for piece in pieces:
            rest = piece
            while rest and parser.feed(rest):
                seen.append(Seen(parser.status, parser.received, parser.closes, parser.kept))
                rest = parser.rest
                parser.reset()
        if parser.end():
            seen.append(Seen(parser.status, parser.received, parser.closes, parser.kept))
        elif parser.begun:
            seen.append("cut off")
    except MalformedAnswer:
        seen.append("malformed")
    return seen


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize(
    ("block", "head"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7", Head(200, 7, False)),
        (b"HTTP/1.1 200\r\ncontent-length:7 ", Head(200, 7, False)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: Close", Head(200, 7, True)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 7", Head(200, 7, True)),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 7", Head(200, 7, False)),
        (b"HTTP/1.1 200 OK", Head(200, UNTIL_CLOSE, True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", Head(200, CHUNKED, False)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked", Head(200, CHUNKED, False)),
        (b"HTTP/1.1 204 No Content", Head(204, 0, False)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7", Head(200, 7, False)),
    ],
)
def test_reads_a_header_block(block: bytes, head: Head) -> None:
    assert parse_head(block) == head


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"hello",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: line",
    ],
)
def test_refuses_what_is_no_header_block(block: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse_head(block)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_split_in_two_and_every_byte_alone_give_the_same_answer(answer: bytes) -> None:
    (whole,) = read([answer])
    assert isinstance(whole, Seen)
    assert read([answer[i : i + 1] for i in range(len(answer))]) == [whole]
    for cut in range(1, len(answer)):
        assert read([answer[:cut], answer[cut:]]) == [whole]


def test_counts_bodies_and_keeps_only_errors() -> None:
    assert read([ANSWERS["counted"]]) == [Seen(200, 5, False, b"")]
    assert read([ANSWERS["chunked"]]) == [Seen(200, 13, False, b"")]
    assert read([ANSWERS["error"]]) == [Seen(400, 15, False, b'{"error":"why"}')]


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert read([b"HTTP/1.1 200 OK\r\n\r\nsome", b"thing"]) == [Seen(200, 9, True, b"")]


@pytest.mark.parametrize(
    "data",
    [
        OK_HEAD + b"hell",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_an_answer_that_is_cut_off_is_not_complete(data: bytes) -> None:
    assert read([data]) == ["cut off"]


@pytest.mark.parametrize(
    "data",
    [
        b"no HTTP at all, and no end of a line",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (BLOCK_LIMIT + 10),
    ],
)
def test_says_at_once_what_is_no_answer(data: bytes) -> None:
    assert read([data]) == ["malformed"]


def test_a_body_may_be_skipped_without_being_looked_at() -> None:
    parser = AnswerParser()
    assert not parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)
    assert parser.skippable == 990
    assert not parser.skip(900)
    assert parser.skip(90)
    assert parser.received == 1000


pieces_of_http = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 503 No\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 100000000000\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"fffffff\r\n",
        b"abc",
        b"\x00\xff",
    ]
)
connections = st.one_of(
    st.binary(max_size=200),
    st.lists(pieces_of_http, max_size=12).map(b"".join),
    st.lists(st.sampled_from(list(ANSWERS.values())), max_size=4).map(b"".join),
)


@given(data=connections, cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_any_bytes_gives_the_same_answers(data: bytes, cuts: list[int]) -> None:
    assert read(split(data, cuts)) == read([data])


@given(answers=st.lists(st.sampled_from(sorted(ANSWERS)), max_size=5))
def test_as_many_answers_are_read_as_were_sent(answers: list[str]) -> None:
    assert len(read([b"".join(ANSWERS[name] for name in answers)])) == len(answers)
