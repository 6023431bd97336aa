"""The wire engine against gRPC servers that misbehave, without a Triton: failures are data, and the load goes on."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hostile import GOOD, Behave, HostileServer
from hostile_grpc import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    MESSAGE,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    Peer,
    Play,
    Witness,
    block,
    continued,
    data,
    frame,
    good,
    head,
    in_frames,
    message,
    only_trailers,
    padded,
    streamed,
    tail,
)

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load import Plan, Request, RequestSet, WireEngine, WorkerSession
from pytest_triton.load.status import LOST, MALFORMED, OK, TIMED_OUT, UNREACHABLE
from pytest_triton.observation import Trace

Serve = Callable[[Behave], HostileServer]


def open_load(
    server: HostileServer,
    *,
    size: int = 4,
    timeout: float = 20.0,
    headers: Mapping[str, str] | None = None,
    **load: Any,
) -> WorkerSession:
    request = Request("m", {"IN": np.zeros(size, dtype=np.float32)}, {"IN": "FP32"})
    plan = Plan(
        server.address,
        Load(protocol="grpc", **load),
        RequestSet.of(request),
        timeout=timeout,
        headers=headers or {},
    )
    return WireEngine().open(plan)


class Outcome:
    """All that was recorded, from the start to the stop."""

    def __init__(self, traces: list[Trace]) -> None:
        self.status = np.concatenate([trace.status for trace in traces])
        self.counts = Counter(self.status.tolist())
        self.reasons = {code: reason for trace in traces for code, reason in trace.reasons.items()}
        self.traces = traces
        for trace in traces:
            assert (trace.sent <= trace.first_response).all()
            assert (trace.first_response <= trace.done).all()

    def column(self, name: str) -> list[int]:
        return [int(value) for trace in self.traces for value in getattr(trace, name)]


def run(server: HostileServer, *, requests: int = 5, **options: Any) -> Outcome:
    """Send at least ``requests`` requests, and end."""
    with open_load(server, **options) as session:
        session.start()
        return Outcome([session.collect(seconds=0, requests=requests, limit=20), session.stop()])


def answer_all(witness: Witness, make: Callable[[int], bytes] = good) -> Play:
    """Answer every request at once, with what ``make`` makes of its stream."""

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw("request", asked)
            peer.answer(asked, make(asked.stream))

    return play


PINGS = frame(PING, 0, 0, b"are you?") + frame(PING, 1, 0, b"I heard.")
ANSWERS: dict[str, Callable[[int], bytes]] = {
    "at once": good,
    "a byte a frame": lambda stream: in_frames(stream, 1),
    "over frames that split the prefix": lambda stream: in_frames(stream, 4),
    "continued header blocks": continued,
    "padded, with priorities": padded,
    "empty frames": lambda stream: head(stream) + data(stream, b"") + data(stream) + data(stream, b"") + tail(stream),
    "after an interim answer": lambda stream: frame(HEADERS, END_HEADERS, stream, block(status=103)) + good(stream),
    "between pings": lambda stream: PINGS + head(stream) + PINGS + data(stream) + PINGS + tail(stream) + PINGS,
    "between frames of unknown kinds": lambda stream: (
        frame(0x0B, 0xFF, 0, b"what") + head(stream) + frame(0x42, 0, stream) + data(stream) + tail(stream)
    ),
    "between frames of no concern": lambda stream: (
        frame(PRIORITY, 0, stream, bytes(5))
        + head(stream)
        + frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1")
        + data(stream)
        + frame(SETTINGS, 1, 0)
        + tail(stream)
    ),
    "beside those of unknown streams": lambda stream: good(1 << 20) + good(stream) + good(stream),
    "and reset afterwards": lambda stream: good(stream) + frame(RST_STREAM, 0, stream, bytes(4)),
    "with a status that is told apart": lambda stream: (
        head(stream) + data(stream) + frame(HEADERS, 5, stream, block(grpc_status=0, grpc_message="", x="y" * 300))
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_proper_answer_is_a_success_whatever_is_around_it(serve: Serve, name: str, concurrency: int) -> None:
    witness = Witness()
    server = serve(witness.playing(answer_all(witness, ANSWERS[name])))
    outcome = run(server, concurrency=concurrency, requests=30)
    assert outcome.counts == {OK: witness["request"]}
    assert outcome.reasons == {}
    assert witness.wrongs == []
    assert server.turns == 1


@pytest.mark.parametrize("name", ["at once", "padded, with priorities", "continued header blocks"])
def test_a_byte_at_a_time_is_as_good_as_any(serve: Serve, name: str) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw("request")
            peer.end(asked.stream)
            for byte in ANSWERS[name](asked.stream):
                peer.send(bytes((byte,)))

    outcome = run(serve(witness.playing(play)), requests=4)
    assert outcome.counts == {OK: witness["request"]}


def test_pings_are_answered(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for number in range(1 << 30):
            asked = peer.request()
            peer.answer(asked, PINGS + good(asked.stream))
            if number == 3:
                for pong in peer.pongs:
                    witness.saw(pong.decode())

    run(serve(witness.playing(play)), requests=5)
    assert witness["are you?"] >= 3
    assert witness["I heard."] == 0


def test_answers_of_several_streams_may_be_mixed(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for _ in range(20):
            asked = peer.requests(4)
            streams = [each.stream for each in asked]
            for each in asked:
                witness.saw("request")
                peer.end(each.stream)
            whole = message()
            peer.send(b"".join(map(head, streams)))
            peer.send(b"".join(data(stream, whole[:7]) for stream in reversed(streams)))
            peer.send(b"".join(data(stream, whole[7:]) for stream in streams))
            peer.send(b"".join(map(tail, reversed(streams))))
        answer_all(witness)(peer, turn)

    outcome = run(serve(witness.playing(play)), concurrency=4, requests=100)
    assert outcome.counts == {OK: witness["request"]}


def test_large_answers_are_counted_to_the_byte(serve: Serve) -> None:
    content = bytes(3 * 2**20)
    witness = Witness()

    def answer(stream: int) -> bytes:
        whole = message(content)
        sizes = itertools.cycle([1 << 18, 1, 5, 1 << 14])
        pieces, at = [], 0
        while at < len(whole):
            size = next(sizes)
            pieces.append(data(stream, whole[at : at + size]))
            at += size
        return head(stream) + b"".join(pieces) + tail(stream)

    with open_load(serve(witness.playing(answer_all(witness, answer)))) as session:
        session.start()
        outcome = Outcome([session.collect(seconds=0, requests=5, limit=20), session.stop()])
        assert outcome.counts == {OK: witness["request"]}
        assert session.received == witness["request"] * len(content)


# -- what a stream can do wrong


def html(stream: int) -> bytes:
    text = b"<html>no upstream</html>"
    return frame(HEADERS, END_HEADERS, stream, block(status=503)) + frame(DATA, END_STREAM, stream, text)


ERRORS = {
    "trailers only": (
        lambda stream: only_trailers(stream, grpc_status=3, grpc_message="bad%20shape%3A%20%E2%82%AC%zz"),
        3,
        "gRPC 3 (INVALID_ARGUMENT): bad shape: €%zz",
    ),
    "no words": (lambda stream: only_trailers(stream, grpc_status=14), 14, "gRPC 14 (UNAVAILABLE)"),
    "unknown status": (lambda stream: only_trailers(stream, grpc_status=40000), 2, "gRPC 2 (UNKNOWN)"),
    "no number": (lambda stream: only_trailers(stream, grpc_status="no"), 2, "gRPC 2 (UNKNOWN)"),
    "after the message": (
        lambda stream: head(stream) + data(stream) + frame(HEADERS, 5, stream, block(grpc_status=13)),
        13,
        "gRPC 13 (INTERNAL)",
    ),
    "a proxy's": (html, 503, "HTTP 503 instead of"),
    "refused": (lambda stream: frame(RST_STREAM, 0, stream, b"\0\0\0\7"), LOST, "REFUSED_STREAM"),
    "reset in the middle": (
        lambda stream: head(stream) + data(stream, message()[:7]) + frame(RST_STREAM, 0, stream, b"\0\0\0w"),
        LOST,
        "error 119",
    ),
    "longer than its message": (
        lambda stream: head(stream) + data(stream, message(length=1 << 20)) + tail(stream),
        MALFORMED,
        "empty or broken",
    ),
    "shorter than its message": (
        lambda stream: head(stream) + data(stream, message(length=len(MESSAGE) - 2)) + tail(stream),
        MALFORMED,
        "empty or broken",
    ),
    "half a prefix": (lambda stream: head(stream) + data(stream, b"\0\0") + tail(stream), MALFORMED, "empty or broken"),
    "two messages": (
        lambda stream: head(stream) + data(stream, message() + message()) + tail(stream),
        MALFORMED,
        "two answers",
    ),
    "two messages in two frames": (
        lambda stream: head(stream) + data(stream) + data(stream) + tail(stream),
        MALFORMED,
        "two answers",
    ),
    "compressed": (
        lambda stream: head(stream) + data(stream, message(flag=1)) + tail(stream),
        MALFORMED,
        "compressed",
    ),
    "no trailers": (lambda stream: head(stream) + data(stream, flags=END_STREAM), MALFORMED, "without a status"),
    "trailers that say nothing": (
        lambda stream: head(stream) + data(stream) + frame(HEADERS, 5, stream, block(x="y")),
        MALFORMED,
        "without a status",
    ),
    "no message": (lambda stream: only_trailers(stream, grpc_status=0), MALFORMED, "empty or broken"),
    "an empty message": (lambda stream: good(stream, b""), MALFORMED, "empty or broken"),
}


@pytest.mark.parametrize("warm", [False, True], ids=["at once", "after good answers"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_stream_that_fails_is_recorded_with_its_reason(serve: Serve, name: str, warm: bool) -> None:
    """The connection and its other streams go on."""
    make, status, reason = ERRORS[name]
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for number in itertools.count():
            asked = peer.request()
            fine = number % 3 == 2 or (warm and number < 10)
            witness.saw("fine" if fine else "bad")
            peer.answer(asked, good(asked.stream) if fine else make(asked.stream))

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=2, requests=20)
    assert outcome.counts == {OK: witness["fine"], status: witness["bad"]}
    assert set(outcome.reasons) == {status}
    assert reason in outcome.reasons[status]
    assert server.turns == 1
    assert witness.wrongs == []


def test_a_late_answer_to_a_request_that_was_given_up_does_not_count(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        while True:
            late = peer.request()
            witness.saw("unanswered")
            following = peer.request()
            witness.saw("answered")
            peer.end(late.stream)
            assert peer.resets[-1] == late.stream
            peer.answer(following, good(late.stream) + good(following.stream))

    outcome = run(serve(witness.playing(play)), requests=6, timeout=0.1)
    assert outcome.counts == {TIMED_OUT: witness["unanswered"], OK: witness["answered"]}
    assert "within 0.1 s" in outcome.reasons[TIMED_OUT]
    assert witness.wrongs == []


# -- what a connection can do wrong


def big(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


BREAKS = {
    "closed": (b"", LOST, "closed the connection"),
    "closed in a frame": (good(1)[:-3], LOST, "closed the connection"),
    "closed in a frame's header": (b"\0\0", LOST, "closed the connection"),
    "a frame that is too long": (b"\x7f\xff\xff\0\0\0\0\0\1", MALFORMED, "more than was allowed"),
    "HTTP/1.1 all of a sudden": (b"HTTP/1.1 400 Bad Request\r\n\r\n", MALFORMED, "HTTP/1.1 400"),
    "data on no stream": (frame(DATA, 0, 0, message()), MALFORMED, "no stream"),
    "headers on no stream": (frame(HEADERS, 4, 0, HEAD), MALFORMED, "no stream"),
    "more padding than frame": (frame(DATA, PADDED, 1, b"\x09abc"), MALFORMED, "padding"),
    "a header of an empty table": (frame(HEADERS, 4, 1, b"\xbe"), MALFORMED, "cannot be decoded"),
    "a header table where none may be": (frame(HEADERS, 4, 1, b"\x3f\xe1\x1f" + HEAD), MALFORMED, "cannot be decoded"),
    "no status of HTTP": (frame(HEADERS, 4, 1, block(status=99999)), MALFORMED, "no status of HTTP"),
    "a block that never began": (frame(CONTINUATION, 4, 1, HEAD), MALFORMED, "never began"),
    "a block that does not go on": (frame(HEADERS, 0, 1, HEAD) + data(1), MALFORMED, "does not go on"),
    "a block without end": (
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(1 << 17)) * 3,
        MALFORMED,
        "no end of a header",
    ),
    "a push": (frame(PUSH_PROMISE, 4, 1, big(2) + HEAD), MALFORMED, "push"),
    "half a ping": (frame(PING, 0, 0, b"1234"), MALFORMED, "ping"),
    "half a setting": (frame(SETTINGS, 0, 0, b"1234"), MALFORMED, "settings of 4"),
    "a window that is too wide": (frame(WINDOW_UPDATE, 0, 0, big((1 << 31) - 1)), MALFORMED, "window"),
    "frames that are too small": (frame(SETTINGS, 0, 0, b"\0\5\0\0\0\1"), MALFORMED, "largest frame"),
    "half a goodbye": (frame(GOAWAY, 0, 0, bytes(4)), MALFORMED, "goodbye"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_connection_that_breaks_is_replaced(serve: Serve, name: str) -> None:
    """What was in flight on it fails, each request once, and the load goes on over a new one."""
    sent, status, reason = BREAKS[name]
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        if turn < 2:
            for _ in range(turn * 5):
                asked = peer.request()
                witness.saw("fine")
                peer.answer(asked)
            peer.requests(2)
            witness.saw("bad")
            witness.saw("bad")
            peer.send(sent)
            if status == MALFORMED:
                peer.wait_for_end()
            return
        answer_all(witness)(peer, turn)

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=2, requests=30)
    assert outcome.counts == {OK: witness["fine"] + witness["request"], status: 4}
    assert witness["bad"] == 4
    assert reason in outcome.reasons[status]
    assert server.turns == 3
    assert witness.wrongs == []


def test_streams_that_a_leaving_server_has_not_taken_fail_and_the_others_end(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        if turn:
            answer_all(witness)(peer, turn)
        asked = peer.requests(4)
        last = asked[1].stream
        peer.send(frame(GOAWAY, 0, 0, big(last) + big(0) + b"bye"))
        time.sleep(0.05)
        for each in asked[:2]:
            witness.saw("request")
            peer.answer(each)
        try:
            while True:
                kind, *_ = peer.take()
                if kind == HEADERS:
                    witness.wrongs.append("a new stream after the goodbye")
        except ConnectionError:
            witness.saw("closed")

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=4, requests=50)
    assert outcome.counts == {OK: witness["request"], LOST: 2}
    assert "went away before it took the request: NO_ERROR" in outcome.reasons[LOST]
    assert witness["closed"] == 1
    assert server.turns == 2
    assert witness.wrongs == []


def test_a_server_that_says_goodbye_in_time_fails_nothing(serve: Serve) -> None:
    """As gRPC's servers do it at a connection's greatest age: a warning, a ping, then the last stream that counts."""
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for number in itertools.count():
            asked = peer.request()
            witness.saw("request")
            if number == 20:
                peer.send(frame(GOAWAY, 0, 0, big((1 << 31) - 1) + big(0)) + frame(PING, 0, 0, b"goodbye?"))
            peer.answer(asked)
            if peer.pongs:
                peer.send(frame(GOAWAY, 0, 0, big(peer.last) + big(0)))

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=3, requests=150)
    assert outcome.counts == {OK: witness["request"]}
    assert server.turns > 4
    assert witness.wrongs == []


def test_a_server_of_another_protocol_is_said_before_the_load(serve: Serve) -> None:
    with pytest.raises(EngineError, match=r"does not speak gRPC: .*HTTP/1\.1 200"):
        open_load(serve(lambda connection, turn: connection.sendall(GOOD)))


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        pytest.param(frame(PING, 0, 0, bytes(8)), "no settings to begin with", id="no settings"),
        pytest.param(b"", "closed the connection", id="nothing"),
        pytest.param(frame(SETTINGS, 0, 0) + frame(GOAWAY, 0, 0, bytes(8)), "went away", id="a goodbye"),
    ],
)
def test_a_connection_that_does_not_come_up_is_said_before_the_load(serve: Serve, first: bytes, reason: str) -> None:
    def behave(connection: socket.socket, turn: int) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while first and connection.recv(65536):
            pass

    with pytest.raises(EngineError, match=reason):
        open_load(serve(behave))


def test_a_server_that_becomes_another_is_hopeless_within_a_bound(serve: Serve) -> None:
    """The second connection finds a server of HTTP/1.1."""
    witness = Witness()

    def behave(connection: socket.socket, turn: int) -> None:
        if turn:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 505 no\r\n\r\n")
            return
        witness.playing(lambda peer, turn: peer.answer(peer.request()))(connection, turn)

    with open_load(serve(behave), concurrency=2) as session:
        session.start()
        began = time.monotonic()
        trace = session.collect(seconds=0, requests=1_000_000, limit=60)
        assert time.monotonic() - began < 30
        assert "closed the connection" in session.hopeless or "does not speak gRPC" in session.hopeless
        assert len(trace) < 200


@pytest.mark.parametrize("load", [{"concurrency": 4}, {"rate": 200.0}, {"concurrency": 2, "streaming": True}])
def test_a_server_that_goes_away_ends_the_load(serve: Serve, load: dict[str, Any]) -> None:
    witness = Witness()
    content = streamed()

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            if "streaming" in load:
                peer.send(data(asked.stream, message(content)))
            else:
                time.sleep(0.02 if "rate" in load else 0)  # so that more than one place is in use
                peer.answer(asked)

    server = serve(witness.playing(play))
    with open_load(server, **load) as session:
        session.start()
        assert (session.collect(seconds=0.2).status == OK).all()
        server.stop()
        session.collect(seconds=0.2)
        began = time.monotonic()
        trace = session.collect(seconds=0, requests=1_000_000, limit=60)
        assert time.monotonic() - began < 30
        assert set(trace.status.tolist()) == {UNREACHABLE}
        assert "refused" in session.hopeless
        assert len(session.stop()) < 100


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_load_that_is_left_while_it_runs_ends_its_requests_first(serve: Serve, concurrency: int) -> None:
    """Triton 2.51 crashes now and then when it is left with requests under way."""
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        try:
            while True:
                asked = peer.request()
                time.sleep(0.003)
                peer.answer(asked)
        except ConnectionError:
            witness.saw("deserted" if peer.stream_windows else "closed")

    with open_load(serve(witness.playing(play)), concurrency=concurrency) as session:
        session.start()
        session.collect(seconds=0.1)
    deadline = time.monotonic() + 5
    while not witness["closed"] + witness["deserted"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (witness["closed"], witness["deserted"]) == (1, 0)


# -- windows and settings


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_streams_are_open_than_the_server_takes(serve: Serve, most: int) -> None:
    witness = Witness()
    server = serve(witness.playing(answer_all(witness), {MAX_STREAMS: most}))
    outcome = run(server, concurrency=5, requests=100)
    assert outcome.counts == {OK: witness["request"]}
    assert witness.wrongs == []


def test_settings_may_change_at_any_time(serve: Serve) -> None:
    """Streams, windows, frames and the header table grow and shrink while the load runs; none of it is broken."""
    witness = Witness()
    changes = itertools.cycle(
        [
            {MAX_STREAMS: 1},
            {TABLE_SIZE: 0},
            {MAX_STREAMS: 3, INITIAL_WINDOW: 10},
            {TABLE_SIZE: 4096},
            {INITIAL_WINDOW: 100_000, MAX_FRAME: 1 << 20},
            {MAX_STREAMS: 0},
            {MAX_STREAMS: 100},
            {TABLE_SIZE: 100},
            {MAX_FRAME: 1 << 14, TABLE_SIZE: 65536},
        ]
    )

    def play(peer: Peer, turn: int) -> None:
        for number in range(1 << 30):
            asked = peer.request(refill=True)
            witness.saw("request")
            peer.answer(asked)
            if number % 9 == 0:
                change = next(changes)
                peer.settle(change)
                if change == {MAX_STREAMS: 0}:
                    acks = peer.acks
                    while peer.acks < acks + 1 or peer.stream_windows:
                        waits = any(peer._messages.values())
                        if waits:
                            peer.answer(peer.request(refill=True))
                            witness.saw("request")
                        else:
                            peer.take()
                    peer.settle(next(changes))

    outcome = run(serve(witness.playing(play)), concurrency=6, requests=600)
    assert outcome.counts == {OK: witness["request"]}
    assert witness.wrongs == []


@pytest.mark.parametrize("settings", [{TABLE_SIZE: 0}, {TABLE_SIZE: 4095}, {TABLE_SIZE: 1 << 20}])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "x" * 5000}, {"a": "x" * 2000, "b": "y" * 2000}])
def test_headers_are_understood_whatever_the_table(
    serve: Serve, settings: dict[int, int], headers: dict[str, str]
) -> None:
    witness = Witness()
    outcome = run(serve(witness.playing(answer_all(witness), settings)), requests=20, headers=headers)
    assert outcome.counts == {OK: witness["request"]}
    assert witness.wrongs == []


def test_a_window_of_nothing_is_waited_for(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        while True:
            kind, _, stream, _ = peer.take()
            if kind == HEADERS:
                while len(peer._messages[stream]) < 5:
                    peer.widen(stream, 1)
                    peer.take()
                peer.widen(stream, 1 << 16)
                asked = peer.request()
                witness.saw("request")
                peer.answer(asked)

    outcome = run(serve(witness.playing(play, {INITIAL_WINDOW: 0})), requests=10)
    assert outcome.counts == {OK: witness["request"]}
    assert witness.wrongs == []


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("streaming", [False, True])
def test_large_messages_go_through_narrow_windows(serve: Serve, concurrency: int, streaming: bool) -> None:
    witness = Witness()
    content = message(streamed())

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request(refill=True)
            witness.saw("request", asked)
            if streaming:
                peer.send(data(asked.stream, content))
            else:
                peer.answer(asked)

    server = serve(witness.playing(play, {INITIAL_WINDOW: 5000}))
    outcome = run(server, concurrency=concurrency, requests=6, size=100_000, streaming=streaming)
    assert outcome.counts == {OK: witness["request"]}
    assert len({asked.content for asked in witness.asked}) == 1
    assert len(witness.asked[0].content) > 400_000
    assert witness.wrongs == []


@pytest.mark.parametrize("streaming", [False, True])
def test_an_early_answer_to_a_large_request_counts(serve: Serve, streaming: bool) -> None:
    """The rest of the request is not sent any more, nor is the next one mixed up with it."""
    witness = Witness()
    content = data(0, message(streamed()))

    def play(peer: Peer, turn: int) -> None:
        while True:
            kind, _, stream, payload = peer.take()
            if kind == DATA and payload and stream not in peer.resets:
                witness.saw("request")
                peer.send(content[:5] + big(stream) + content[9:] if streaming else good(stream))
                while stream not in peer.resets:
                    peer.take()
                peer.widen(0, len(payload))

    outcome = run(serve(witness.playing(play, {INITIAL_WINDOW: 1000})), size=10_000, streaming=streaming, requests=8)
    assert outcome.counts[OK] == witness["request"] - outcome.counts.get(TIMED_OUT, 0)
    assert set(outcome.counts) == {OK}
    assert witness.wrongs == []


# -- streams that stay


def several(*contents: bytes) -> Callable[[int], list[bytes]]:
    return lambda stream: [data(stream, b"".join(map(message, contents)))]


def apart(*contents: bytes) -> Callable[[int], list[bytes]]:
    return lambda stream: [data(stream, message(content)) for content in contents]


def bytewise(*contents: bytes) -> Callable[[int], list[bytes]]:
    whole = b"".join(map(message, contents))
    return lambda stream: [data(stream, whole[at : at + 1]) for at in range(len(whole))]


MORE, LAST, END = streamed(final=False), streamed(final=True), streamed(final=True, empty=True)


@pytest.mark.parametrize(
    ("make", "responses"),
    [
        pytest.param(apart(streamed()), 1, id="one"),
        pytest.param(apart(LAST), 1, id="one, and says so"),
        pytest.param(apart(END), 0, id="none"),
        pytest.param(apart(MORE, MORE, MORE, END), 3, id="three"),
        pytest.param(apart(MORE, LAST), 2, id="two, the last of which says so"),
        pytest.param(several(MORE, MORE, END), 2, id="in one frame"),
        pytest.param(bytewise(MORE, MORE, END), 2, id="a byte a frame"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_responses_to_a_request_are_counted(
    serve: Serve, make: Callable[[int], list[bytes]], responses: int, concurrency: int
) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        begun = set[int]()
        while True:
            asked = peer.request()
            witness.saw("request")
            if asked.stream not in begun:
                begun.add(asked.stream)
                peer.send(head(asked.stream))
            for piece in make(asked.stream):
                peer.send(piece)
            if peer.window < 32768:
                peer.widen(0, 1 << 20)
                peer.widen(asked.stream, 1 << 20)
            if len(begun) > concurrency:
                witness.wrongs.append("more streams than places")

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=concurrency, requests=25, streaming=True)
    assert outcome.counts == {OK: witness["request"]}
    assert set(outcome.column("responses")) == {responses}
    assert len(outcome.column("response_at")) == responses * witness["request"]
    assert witness.wrongs == []


STREAM_ERRORS = {
    "an error": (apart(streamed(error="oops")), 2, "gRPC stream: oops"),
    "an error in the middle": (apart(MORE, streamed(error="oops")), 2, "gRPC stream: oops"),
    "an error, then the end": (several(MORE, streamed(error="oops"), END), 2, "gRPC stream: oops"),
    "ended by the server": (lambda stream: [data(stream, message(MORE)), tail(stream)], LOST, "before the last"),
    "ended with a status": (lambda stream: [frame(HEADERS, 5, stream, block(grpc_status=13))], 13, "INTERNAL"),
    "ended without a status": (lambda stream: [data(stream, message(MORE), END_STREAM)], MALFORMED, "without a status"),
    "reset": (lambda stream: [frame(RST_STREAM, 0, stream, big(2))], LOST, "INTERNAL_ERROR"),
    "no protobuf": (apart(b"\xff\xff\xff"), MALFORMED, "no proper response"),
    "an empty response": (apart(b""), MALFORMED, "empty response"),
    "compressed": (lambda stream: [data(stream, message(flag=1))], MALFORMED, "compressed"),
    "a proxy's": (lambda stream: [html(stream)], 503, "HTTP 503"),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_stream_that_fails_is_opened_anew(serve: Serve, name: str) -> None:
    make, status, reason = STREAM_ERRORS[name]
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for number in itertools.count():
            asked = peer.request()
            bad = number % 5 == 3
            witness.saw("bad" if bad else "fine")
            for piece in make(asked.stream) if bad else apart(MORE, END)(asked.stream):
                peer.send(piece)

    server = serve(witness.playing(play))
    outcome = run(server, concurrency=1, requests=30, streaming=True)
    assert outcome.counts == {OK: witness["fine"], status: witness["bad"]}
    assert reason in outcome.reasons[status]
    assert server.turns == 1
    assert witness.wrongs == []


def test_a_response_after_the_last_is_not_the_next_requests(serve: Serve) -> None:
    witness = Witness()

    def play(peer: Peer, turn: int) -> None:
        for number in itertools.count():
            asked = peer.request()
            if number % 4 == 1:
                witness.saw("fine")
                peer.send(data(asked.stream, message(LAST) + message(LAST)))
            elif number % 4 == 2:
                witness.saw("robbed")
            else:
                witness.saw("fine")
                peer.send(data(asked.stream, message(LAST)))

    outcome = run(serve(witness.playing(play)), requests=20, streaming=True)
    assert outcome.counts == {OK: witness["fine"], MALFORMED: witness["robbed"]}
    assert "before the request" in outcome.reasons[MALFORMED]


@pytest.mark.parametrize("how", ["end", "reset", "close", "goodbye"])
def test_a_stream_that_ends_while_it_has_nothing_to_do_is_no_failure(serve: Serve, how: str) -> None:
    """In open loop: the place that kept it takes one request at a time afterwards, too."""
    witness = Witness()
    numbers = itertools.count()

    def play(peer: Peer, turn: int) -> None:
        while True:
            asked = peer.request()
            witness.saw("request")
            if next(numbers) > 8:
                time.sleep(0.04)  # now several places are needed at a time
                peer.send(data(asked.stream, message(LAST)))
                continue
            peer.send(data(asked.stream, message(LAST)))
            time.sleep(0.002)
            if how == "end":
                peer.send(tail(asked.stream))
            elif how == "reset":
                peer.send(frame(RST_STREAM, 0, asked.stream, big(0)))
            elif how == "goodbye":
                peer.send(frame(GOAWAY, 0, 0, big(asked.stream) + big(0)))
                peer.wait_for_end()
            else:
                return

    outcome = run(serve(witness.playing(play)), rate=40.0, arrivals="constant", requests=30, streaming=True)
    assert outcome.counts == {OK: witness["request"]}
    assert witness["request"] >= 20


# -- sequences


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("string_ids", [False, True])
def test_a_sequence_whose_request_failed_is_given_up(serve: Serve, streaming: bool, string_ids: bool) -> None:
    """Every ninth request is an error, and every connection ends after 40."""
    witness = Witness()
    content = message(streamed())

    def play(peer: Peer, turn: int) -> None:
        for number in range(40):
            asked = peer.request()
            witness.saw("request", asked)
            if number % 9 == 5:
                peer.answer(asked, only_trailers(asked.stream, grpc_status=3))
            elif streaming:
                peer.send(data(asked.stream, content))
            else:
                peer.answer(asked)
        asked = peer.request()
        witness.saw("request", asked)

    request = Request("m", {"IN": np.zeros(1, dtype=np.float32)}, {"IN": "FP32"})
    load = Load(concurrency=1, protocol="grpc", sequence_length=(2, 6), streaming=streaming)
    server = serve(witness.playing(play))
    plan = Plan(server.address, load, RequestSet.of(request), string_ids=string_ids)
    with WireEngine().open(plan) as session:
        session.start()
        outcome = Outcome([session.collect(seconds=0, requests=300, limit=20), session.stop()])
    assert len(witness.asked) == len(outcome.status)
    sequences: dict[Any, list[tuple[bool, bool]]] = {}
    for asked in witness.asked:
        said = asked.parameters
        assert isinstance(said["sequence_id"], str if string_ids else int)
        flags = bool(said.get("sequence_start")), bool(said.get("sequence_end"))
        id = str(said["sequence_id"]).split("-")[1] if string_ids else said["sequence_id"]
        sequences.setdefault(int(id), []).append(flags)
    broken = set[int]()
    for sequence, status in zip(outcome.column("sequence"), outcome.status.tolist(), strict=True):
        assert sequence not in broken, "a sequence went on after a failure"
        if status != OK:
            broken.add(sequence)
    assert Counter(outcome.column("sequence")) == {sequence: len(flags) for sequence, flags in sequences.items()}
    assert broken
    for sequence, flags in sequences.items():
        assert [start for start, _ in flags] == [True] + [False] * (len(flags) - 1)
        ended = [end for _, end in flags]
        assert not any(ended[:-1])
        assert ended[-1] or sequence in broken
