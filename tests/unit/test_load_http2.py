"""HTTP/2 frames: any bytes, in any pieces."""

from __future__ import annotations

import itertools
import struct

import pytest
from hostile_grpc import frame as frame_of
from hypothesis import given
from hypothesis import strategies as st

from pytest_triton.load import http2
from pytest_triton.load.http2 import BrokenFrames, Frame

URGENT = b"\x80\0\0\1\xff"


def read(data: bytes) -> tuple[list[Frame], str]:
    """All frames, and how it ended: the rest's length, or that they are broken."""
    frames, at = [], 0
    try:
        while (found := http2.read_frame(data, at)) is not None:
            assert at + 9 <= found[1] <= len(data)
            frames.append(found[0])
            at = found[1]
    except BrokenFrames:
        return frames, "broken"
    return frames, str(len(data) - at)


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "bare"),
    [
        pytest.param(http2.DATA, 0, b"abc", b"abc", id="data"),
        pytest.param(http2.DATA, 0, b"", b"", id="empty"),
        pytest.param(http2.DATA, http2.PADDED, b"\2abc\0\0", b"abc", id="padded"),
        pytest.param(http2.DATA, http2.PADDED, b"\0abc", b"abc", id="padded with nothing"),
        pytest.param(http2.DATA, http2.PADDED, b"\3\0\0\0", b"", id="nothing but padding"),
        pytest.param(http2.DATA, http2.WITH_PRIORITY, b"abcdefg", b"abcdefg", id="data has no priority"),
        pytest.param(http2.HEADERS, http2.WITH_PRIORITY, URGENT + b"abc", b"abc", id="priority"),
        pytest.param(
            http2.HEADERS,
            http2.WITH_PRIORITY | http2.PADDED,
            b"\1" + URGENT + b"abc\0",
            b"abc",
            id="padded, with priority",
        ),
        pytest.param(http2.SETTINGS, http2.PADDED, b"\xffabcde", b"\xffabcde", id="settings have no padding"),
    ],
)
def test_a_payload_is_free_of_padding_and_priority(kind: int, flags: int, payload: bytes, bare: bytes) -> None:
    data = b"before" + frame_of(kind, flags, 7, payload) + b"behind"
    assert http2.read_frame(data, 6) == (Frame(kind, flags, b"\0\0\0\7", bare), len(data) - 6)


@pytest.mark.parametrize(
    ("kind", "flags", "payload"),
    [
        pytest.param(http2.DATA, http2.PADDED, b"", id="no length of padding"),
        pytest.param(http2.DATA, http2.PADDED, b"\4abc", id="more padding than frame"),
        pytest.param(http2.HEADERS, http2.WITH_PRIORITY, b"abcd", id="half a priority"),
        pytest.param(http2.HEADERS, http2.WITH_PRIORITY | http2.PADDED, b"\1" + URGENT, id="padding over the priority"),
    ],
)
def test_padding_that_lies_is_broken(kind: int, flags: int, payload: bytes) -> None:
    with pytest.raises(BrokenFrames, match=r"padding|padded"):
        http2.read_frame(frame_of(kind, flags, 1, payload), 0)


def test_the_reserved_bit_of_a_stream_id_means_nothing() -> None:
    found = http2.read_frame(frame_of(http2.DATA, 0, (1 << 31) | 5), 0)
    assert found is not None
    assert found[0].stream == b"\0\0\0\5"


def test_a_frame_that_is_too_long_is_refused_before_it_has_come() -> None:
    with pytest.raises(BrokenFrames, match="more than was allowed"):
        http2.read_frame((http2.FRAME_LIMIT + 1).to_bytes(3, "big") + bytes(6), 0)
    assert http2.read_frame(http2.FRAME_LIMIT.to_bytes(3, "big") + bytes(6), 0) is None


frames = st.builds(
    frame_of, st.integers(0, 255), st.integers(0, 255), st.integers(0, (1 << 32) - 1), st.binary(max_size=30)
)
streams = st.one_of(
    st.binary(max_size=80), st.lists(st.one_of(frames, st.binary(max_size=3)), max_size=6).map(b"".join)
)


@given(streams)
def test_any_bytes_are_frames_or_broken(data: bytes) -> None:
    frames, how = read(data)
    assert how == "broken" or int(how) < len(data) + 1
    assert sum(9 + len(frame.payload) for frame in frames) <= len(data)


@given(streams, st.lists(st.integers(0, 120), max_size=8))
def test_any_split_gives_the_same_frames(data: bytes, cuts: list[int]) -> None:
    """As a connection reads: what is left of a piece goes before the next."""
    got: list[Frame] = []
    rest, ended = b"", ""
    begins = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    for begin, end in itertools.pairwise(begins):
        rest += data[begin:end]
        found, ended = read(rest)
        got += found
        if ended == "broken":
            break
        rest = rest[len(rest) - int(ended) :]
    assert (got, ended) == read(data)


@given(st.integers(0, 9), st.integers(0, 255).filter(lambda flags: not flags & 0x28), st.binary(max_size=40))
def test_what_is_written_is_read(kind: int, flags: int, payload: bytes) -> None:
    data = http2.frame(kind, flags, b"\0\0\1\2", payload)
    assert data == frame_of(kind, flags, 258, payload)
    assert http2.read_frame(data, 0) == (Frame(kind, flags, b"\0\0\1\2", payload), len(data))


@given(st.dictionaries(st.integers(7, 0xFFFF), st.integers(0, 0xFFFFFFFF), max_size=5))
def test_settings_are_written_and_read(values: dict[int, int]) -> None:
    found = http2.read_frame(http2.settings(values), 0)
    assert found is not None
    assert http2.read_settings(found[0].payload) == values


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (b"12345", "settings of 5 bytes"),
        (struct.pack(">HI", http2.INITIAL_WINDOW, 1 << 31), "window"),
        (struct.pack(">HI", http2.MAX_FRAME, 16383), "largest frame of 16383"),
        (struct.pack(">HI", http2.MAX_FRAME, 1 << 24), "largest frame"),
    ],
)
def test_settings_that_may_not_be_are_broken(payload: bytes, match: str) -> None:
    with pytest.raises(BrokenFrames, match=match):
        http2.read_settings(payload)


def test_the_last_of_a_setting_said_twice_counts() -> None:
    twice = struct.pack(">HIHI", http2.MAX_STREAMS, 1, http2.MAX_STREAMS, 2)
    assert http2.read_settings(twice) == {http2.MAX_STREAMS: 2}


@pytest.mark.parametrize("payload", [b"", b"123", b"12345"])
def test_a_number_has_four_bytes(payload: bytes) -> None:
    with pytest.raises(BrokenFrames, match=f"a reset of {len(payload)} bytes"):
        http2.read_number(payload, "a reset")


@pytest.mark.parametrize(
    ("code", "name"), [(0, "NO_ERROR"), (8, "CANCEL"), (13, "HTTP_1_1_REQUIRED"), (14, "error 14")]
)
def test_errors_have_names(code: int, name: str) -> None:
    assert http2.name_error(code) == name
