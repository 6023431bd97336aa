"""Whatever a server answers, the load neither breaks nor hangs, and counts no request twice."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from hostile import BODY, GOOD, Behave, HostileServer, read_request
from hostile_grpc import (
    HEAD,
    TAIL,
    Peer,
    Witness,
    block,
    continued,
    frame,
    good,
    in_frames,
    message,
    one_response,
    only_trailers,
    padded,
    streamed,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import column, drive, in_process, plan_for

from pytest_triton.load import grpc_connection, http2, wire_grpc
from pytest_triton.load.status import LOST, MALFORMED, OK, TIMED_OUT, UNREACHABLE

Serve = Callable[[Behave], HostileServer]

WIRE = {OK, LOST, MALFORMED, TIMED_OUT, UNREACHABLE}
"""What can happen on the wire; other codes are HTTP's and gRPC's own."""

fuzzing = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def mangled(chance: random.Random, data: bytes) -> bytes:
    """A good answer with something wrong, or right, at some place."""
    at = chance.randrange(len(data) + 1)
    return chance.choice(
        [
            lambda: data,
            lambda: data,
            lambda: data[:at],
            lambda: data[:at] + chance.randbytes(chance.randrange(12)) + data[at:],
            lambda: data[:at] + data[at + chance.randrange(1, 9) :],
            lambda: data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :],
            lambda: data + data,
            lambda: chance.randbytes(chance.randrange(60)),
        ]
    )()


def in_pieces(chance: random.Random, data: bytes, send: Callable[[bytes], None]) -> None:
    while data:
        length = chance.randint(1, len(data)) if chance.random() < 0.7 else 1
        send(data[:length])
        data = data[length:]


HTTP_ANSWERS = [
    GOOD,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n"
    + BODY[:8]
    + b"\r\na\r\n"
    + BODY[8:]
    + b"\r\n0\r\n\r\n",
    b'HTTP/1.1 503 No\r\nContent-Length: 15\r\n\r\n{"error":"why"}',
    b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
    GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
    b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    b"HTTP/1.1 204 None\r\n\r\n",
]
LOADS = [
    pytest.param({"concurrency": 3}, id="closed loop"),
    pytest.param({"rate": 400.0}, id="open loop"),
    pytest.param({"concurrency": 2, "sequence_length": (1, 4)}, id="sequences"),
    pytest.param({"rate": 400.0, "sequence_length": 3, "concurrency": 3}, id="sequences in open loop"),
    pytest.param({"concurrency": 3, "expected": True}, id="answers that are looked at"),
]


@pytest.mark.parametrize("load", LOADS)
@fuzzing
@given(seed=st.integers(0, 1 << 32))
def test_http(load: dict[str, Any], seed: int) -> None:
    witness = Witness()

    def behave(connection: socket.socket, turn: int) -> None:
        chance = random.Random(f"{seed} {turn}")
        while read_request(connection):
            witness.saw("request")
            in_pieces(chance, mangled(chance, chance.choice(HTTP_ANSWERS)), connection.sendall)
            if chance.random() < 0.2:
                return

    server = HostileServer(behave)
    try:
        with in_process(plan_for(server.address, timeout=0.05, **load)) as loop:
            drive(loop, requests=12, seconds=0.2)
            check(loop, witness, own=range(100, 1000))
    finally:
        server.stop()


def check(loop: Any, witness: Witness, *, own: range) -> None:
    statuses = column(loop, "status")
    assert all(status in WIRE or status in own for status in statuses)
    assert all(status in loop.reasons for status in statuses if status != OK)
    # A request that has no connection, or that the server does not read any more, is recorded, too; none is lost.
    assert witness["request"] <= len(statuses)
    sent, first, done = (column(loop, name) for name in ("sent", "first", "done"))
    assert all(one <= two <= three for one, two, three in zip(sent, first, done, strict=True))


GRPC_ANSWERS: list[Callable[[int], bytes]] = [
    good,
    good,
    padded,
    continued,
    lambda stream: in_frames(stream, 3),
    lambda stream: only_trailers(stream, grpc_status=3, grpc_message="a%20b"),
    lambda stream: frame(1, 5, stream, block(status=503)),
    lambda stream: frame(3, 0, stream, bytes(4)),
    lambda stream: frame(4, 0, 0, b"\0\3\0\0\0\2\0\4\0\0\0\x09") + good(stream),
    lambda stream: frame(4, 0, 0, b"\0\1\0\0\0\0\0\4\0\1\0\0") + good(stream),
    lambda stream: frame(6, 0, 0, bytes(8)) + good(stream) + frame(8, 0, stream, b"\0\0\0\1"),
    lambda stream: good(stream) + frame(7, 0, 0, stream.to_bytes(4, "big") + bytes(4)),
    lambda stream: frame(1, 4, stream, HEAD) + frame(0, 1, stream, message()),
    lambda stream: frame(1, 4, stream, HEAD) + frame(0, 0, stream, message(streamed(final=False))),
    lambda stream: frame(0, 0, stream, message(streamed(final=True))),
    lambda stream: frame(0, 0, stream, message(streamed(error="no")) + message(streamed(final=True))),
    lambda stream: frame(1, 5, stream, TAIL),
    lambda stream: b"",
]
STREAMING = [
    pytest.param({"concurrency": 3, "streaming": True}, id="streams"),
    pytest.param({"rate": 400.0, "streaming": True}, id="streams in open loop"),
    pytest.param({"concurrency": 2, "streaming": True, "sequence_length": (1, 4)}, id="sequences on streams"),
    pytest.param({"concurrency": 2, "streaming": True, "expected": True}, id="streams that are looked at"),
]


@pytest.mark.parametrize("load", [*LOADS, *STREAMING])
@fuzzing
@given(seed=st.integers(0, 1 << 32))
def test_grpc(load: dict[str, Any], seed: int) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        chance = random.Random(f"{seed} {turn}")
        while True:
            asked = peer.request(refill=True)
            witness.saw("request")
            make = chance.choice([one_response if load.get("streaming") else good, *GRPC_ANSWERS])
            data = make(asked.stream)
            in_pieces(chance, mangled(chance, data) if chance.random() < 0.3 else data, peer.send)
            if chance.random() < 0.05:
                return

    server = HostileServer(witness.playing(play))
    try:
        with in_process(plan_for(server.address, timeout=0.05, protocol="grpc", **load)) as loop:
            drive(loop, requests=25, seconds=0.2)
            check(loop, witness, own=range(1, 1000))
    finally:
        server.stop()


@pytest.mark.parametrize("streaming", [False, True])
@fuzzing
@given(data=st.binary(max_size=200), cut=st.integers(0, 40))
def test_bytes_after_the_settings(streaming: bool, data: bytes, cut: int) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw("request")
            peer.send(good(asked.stream)[:cut] + data)

    server = HostileServer(witness.playing(play))
    try:
        plan = plan_for(server.address, timeout=0.03, protocol="grpc", streaming=streaming, concurrency=2)
        with in_process(plan) as loop:
            drive(loop, requests=6, seconds=0.2)
            check(loop, witness, own=range(1, 1000))
    finally:
        server.stop()


# -- what takes too long to come by otherwise


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_connection_without_stream_ids_left_is_replaced(serve: Serve, streaming: bool, most: int | None) -> None:
    witness = Witness()
    highest = (1 << 31) - 1

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw(str(turn))
            witness.saw("request")
            if streaming:
                peer.send(frame(0, 0, asked.stream, message(streamed())) + frame(1, 5, asked.stream, TAIL))
            else:
                peer.answer(asked)

    server = serve(witness.playing(play, {} if most is None else {3: most}))
    plan = plan_for(server.address, protocol="grpc", streaming=streaming, concurrency=4)
    with in_process(plan, first_stream=highest - 10) as loop:
        drive(loop, requests=60)
        statuses = column(loop, "status")
        assert len(loop._connections) <= 2  # type: ignore[attr-defined]
    if not streaming:
        # Six streams are left of each connection.
        assert statuses == [OK] * witness["request"]
        assert {witness[str(turn)] for turn in range(server.turns - 2)} == {6}
    assert len(statuses) >= witness["request"]
    assert server.turns > 3
    assert witness.wrongs == []


@pytest.mark.parametrize("concurrency", [1, 3])
def test_streams_that_stay_move_on_when_the_server_says_goodbye(serve: Serve, concurrency: int) -> None:
    """Nothing fails, and no connection is left behind."""
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        try:
            for number in range(1 << 30):
                asked = peer.request()
                witness.saw("request")
                if number == 5:
                    peer.send(frame(7, 0, 0, peer.last.to_bytes(4, "big") + bytes(4)))
                peer.send(frame(0, 0, asked.stream, message(streamed())))
        except ConnectionError:
            witness.saw("closed")

    server = serve(witness.playing(play))
    with in_process(plan_for(server.address, protocol="grpc", streaming=True, concurrency=concurrency)) as loop:
        drive(loop, requests=60)
        assert column(loop, "status") == [OK] * witness["request"]
        # The last goodbye may have come just before the end, to places that begin nothing more.
        assert len(loop._connections) <= 2  # type: ignore[attr-defined]
    assert server.turns > 5
    deadline = time.monotonic() + 5
    while witness["closed"] < server.turns and time.monotonic() < deadline:
        time.sleep(0.01)
    assert witness["closed"] == server.turns
    assert witness.wrongs == []


def test_stream_ids_end_on_the_quick_path_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_grpc, "RECEIVE", 400)
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw("request")
            peer.answer(asked)

    server = serve(witness.playing(play))
    with in_process(
        plan_for(server.address, protocol="grpc", concurrency=3), first_stream=http2.LAST_STREAM - 1000
    ) as loop:
        drive(loop, requests=2000)
        assert column(loop, "status") == [OK] * witness["request"]
    assert server.turns > 3
    assert witness.wrongs == []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("pieces", [1, 30])
def test_room_is_given_back_as_it_is_taken(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, streaming: bool, pieces: int
) -> None:
    """To the byte: with less the server stalls in the end, with more its window overflows."""
    monkeypatch.setattr(grpc_connection, "_REFILL", 1000)
    witness = Witness()
    content = message(streamed())
    rooms: list[tuple[int, int]] = []

    def play(peer: Peer, turn: int) -> None:
        taken = 0
        begun = (1 << 31) - 1 - 65535
        while True:
            asked = peer.request()
            rooms.append((taken - (peer.given[0] - begun), taken - peer.given[1]))
            size = -(-len(content) // pieces)
            cut = [content[at : at + size] for at in range(0, len(content), size)]
            frames = b"".join(frame(0, 0, asked.stream, piece) for piece in cut)
            if streaming:
                peer.send(frames)
            else:
                peer.answer(asked, frame(1, 4, asked.stream, HEAD) + frames + frame(1, 5, asked.stream, TAIL))
            taken += len(content)

    plan = plan_for(serve(witness.playing(play)).address, protocol="grpc", streaming=streaming)
    with in_process(plan) as loop:
        drive(loop, requests=300)
        assert set(column(loop, "status")) == {OK}
    assert len(rooms) >= 300
    for connection, stream in rooms:
        assert 0 <= connection < 1000 + len(content)
        assert not streaming or 0 <= stream < 1000 + len(content)


def test_a_connection_that_does_not_come_up_again_is_given_up(serve: Serve) -> None:
    """The second connection gets no settings; requests time out, and the third is as the first."""
    witness = Witness()

    def behave(connection: socket.socket, turn: int) -> None:
        if turn == 1:
            while connection.recv(65536):
                pass
            return
        witness.playing(play)(connection, turn)

    def play(peer: Peer, turn: int) -> None:
        for _ in range(1 << 30 if turn else 3):
            asked = peer.request()
            witness.saw("request")
            peer.answer(asked)

    server = serve(behave)
    with in_process(plan_for(server.address, protocol="grpc", concurrency=2, timeout=0.1)) as loop:
        drive(loop, requests=50)
        statuses = column(loop, "status")
    assert TIMED_OUT in statuses
    assert statuses.count(OK) == witness["request"]
    assert server.turns == 3


def test_nothing_is_sent_before_the_start_nor_after_the_end(serve: Serve) -> None:
    """A server that closes idle connections is no reason to."""
    witness = Witness()

    def behave(connection: socket.socket, turn: int) -> None:
        while read_request(connection):
            witness.saw("request")
            connection.sendall(GOOD)

    server = serve(behave)
    with in_process(plan_for(server.address, concurrency=2)) as loop:
        server.hang_up()
        loop.run(time.monotonic_ns() + 300_000_000)
        assert witness["request"] == 0
        drive(loop, requests=10)
        count = len(column(loop, "status"))
        server.hang_up()
        loop.run(time.monotonic_ns() + 300_000_000)
        assert witness["request"] == count == len(column(loop, "status"))
