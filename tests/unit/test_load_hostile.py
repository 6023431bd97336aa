"""The wire engine against servers that misbehave, without a Triton: failures are data, and the load goes on."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import BODY, GOOD, Behave, HostileServer, answering, answering_once, read_request

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load import Plan, Request, RequestSet, WireEngine, WorkerSession
from pytest_triton.load.status import LOST, MALFORMED, OK, TIMED_OUT, UNREACHABLE
from pytest_triton.observation import Trace

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n"
    + BODY[:8]
    + b"\r\na\r\n"
    + BODY[8:]
    + b"\r\n0\r\n\r\n"
)
UNAVAILABLE = b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 19\r\n\r\n{"error":"too bad"}'
CLOSING_UNAVAILABLE = UNAVAILABLE.replace(b"Unavailable\r\n", b"Unavailable\r\nConnection: close\r\n")


def open_load(address: str, *, concurrency: int = 1, timeout: float = 20.0, size: int = 4) -> WorkerSession:
    request = Request("m", {"IN": np.zeros(size, dtype=np.float32)}, {"IN": "FP32"})
    return WireEngine().open(Plan(address, Load(concurrency=concurrency), RequestSet.of(request), timeout=timeout))


def load(server: HostileServer, *, requests: int = 5, **options: float) -> Trace:
    """Send at least ``requests`` requests."""
    with open_load(server.address, **options) as session:  # type: ignore[arg-type]
        session.start()
        return session.collect(seconds=0, requests=requests, limit=20)


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(answering(GOOD), id="at once"),
        pytest.param(answering(*(GOOD[i : i + 1] for i in range(len(GOOD)))), id="a byte at a time"),
        pytest.param(answering(GOOD[:30], GOOD[30:], pause=0.005), id="in the middle of the header"),
        pytest.param(answering(GOOD[:-3], GOOD[-3:], pause=0.005), id="in the middle of the body"),
        pytest.param(answering(CHUNKED), id="chunked"),
        pytest.param(answering(CHUNKED[:60], CHUNKED[60:], pause=0.005), id="chunked, in pieces"),
        pytest.param(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD), id="after an interim answer"),
        pytest.param(answering_once(GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")), id="closes, and says so"),
        pytest.param(answering_once(b"HTTP/1.0 200 OK\r\n\r\n" + BODY), id="until it closes"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_proper_answer_is_a_success_however_it_comes(
    serve: Callable[[Behave], HostileServer], behave: Behave, concurrency: int
) -> None:
    trace = load(serve(behave), concurrency=concurrency, requests=20)
    assert len(trace) >= 20
    assert (trace.status == OK).all()
    assert trace.reasons == {}
    assert (trace.first_response <= trace.done).all()


def reset(connection: socket.socket, turn: int) -> None:
    """Begin to answer, then reset the connection."""
    if read_request(connection):
        connection.sendall(GOOD[:40])
        time.sleep(0.02)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("behave", "status", "reason"),
    [
        pytest.param(answering(UNAVAILABLE), 503, "HTTP 503: too bad", id="503"),
        pytest.param(answering_once(CLOSING_UNAVAILABLE), 503, "HTTP 503: too bad", id="503 and closed"),
        pytest.param(
            answering(b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nwhere"), 404, "HTTP 404: where", id="no JSON"
        ),
        pytest.param(
            answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), 500, "HTTP 500", id="500 without a word"
        ),
        pytest.param(answering_once(GOOD[:-3]), LOST, "after 15 bytes", id="closed in the body"),
        pytest.param(answering_once(GOOD[:20]), LOST, "middle of its answer", id="closed in the header"),
        pytest.param(answering_once(b""), LOST, "instead of answering", id="closed without an answer"),
        pytest.param(reset, LOST, "lost while receiving", id="reset"),
        pytest.param(answering(b"what?\n"), MALFORMED, "not a status line", id="garbage"),
        pytest.param(answering(GOOD + b"more"), MALFORMED, "more bytes", id="longer than it says"),
        pytest.param(
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), MALFORMED, "Content-Length", id="no number"
        ),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), MALFORMED, "empty body", id="empty"),
    ],
)
def test_anything_else_is_recorded_with_its_reason(
    serve: Callable[[Behave], HostileServer], behave: Behave, status: int, reason: str
) -> None:
    trace = load(serve(behave), concurrency=2, requests=6)
    assert len(trace) >= 6
    assert set(trace.status.tolist()) == {status}
    assert reason in trace.reasons[status]


@pytest.mark.parametrize(
    "behave", [answering(b""), answering(GOOD[:-1])], ids=["nothing at all", "shorter than it says"]
)
def test_waits_for_an_answer_no_longer_than_the_time_out(
    serve: Callable[[Behave], HostileServer], behave: Behave
) -> None:
    trace = load(serve(behave), concurrency=2, requests=4, timeout=0.1)
    assert set(trace.status.tolist()) == {TIMED_OUT}
    assert "within 0.1 s" in trace.reasons[TIMED_OUT]
    assert ((trace.done - trace.sent) >= 0.1e9).all()


def test_goes_on_after_failures(serve: Callable[[Behave], HostileServer]) -> None:
    """Every third connection is closed without an answer, the others after a while."""

    def behave(connection: socket.socket, turn: int) -> None:
        for _ in range(0 if turn % 3 == 0 else 5):
            if not read_request(connection):
                return
            connection.sendall(GOOD)
        read_request(connection)

    with open_load(serve(behave).address, concurrency=2) as session:
        session.start()
        trace = session.collect(seconds=0, requests=100, limit=20)
        assert session.hopeless == ""
    counts = Counter(trace.status.tolist())
    assert set(counts) == {OK, LOST}
    assert counts[OK] > counts[LOST] > 5


def test_takes_an_early_answer_to_a_large_request(serve: Callable[[Behave], HostileServer]) -> None:
    """The answer comes before the request is sent: it counts, and the connection is not used again."""

    def behave(connection: socket.socket, turn: int) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nless")
        while connection.recv(65536):
            time.sleep(0.001)

    trace = load(serve(behave), requests=3, size=4 * 2**20)
    assert set(trace.status.tolist()) == {413}
    assert trace.reasons[413] == "HTTP 413: less"


def test_large_answers_are_counted_to_the_byte(serve: Callable[[Behave], HostileServer]) -> None:
    size = 16 * 2**20
    big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with open_load(serve(answering(big)).address) as session:
        session.start()
        traces = [session.collect(seconds=0, requests=3, limit=20), session.stop()]
        count = sum(len(trace) for trace in traces)
        assert count >= 3
        assert session.received == count * size


def test_a_server_that_goes_away_is_not_hammered(serve: Callable[[Behave], HostileServer]) -> None:
    server = serve(answering(GOOD))
    with open_load(server.address, concurrency=4) as session:
        session.start()
        assert (session.collect(seconds=0.1).status == OK).all()
        server.stop()
        session.collect(seconds=0.2)
        began = time.monotonic()
        trace = session.collect(seconds=0, requests=1_000_000, limit=60)
        # It gives up long before its limit, after few attempts, and says why.
        assert time.monotonic() - began < 30
        assert len(trace) < 100
        assert set(trace.status.tolist()) == {UNREACHABLE}
        assert "refused" in session.hopeless
        assert trace.cpu_seconds < trace.seconds / 2


def test_a_server_that_only_answers_errors_is_not_hammered(serve: Callable[[Behave], HostileServer]) -> None:
    with open_load(serve(answering(UNAVAILABLE)).address) as session:
        session.start()
        session.collect(seconds=0, requests=100, limit=20)
        # From the hundredth error in a row on it pauses for 5, 10, 20, ... ms.
        assert len(session.collect(seconds=1.0)) < 20


def test_a_server_that_comes_back_is_used_again(serve: Callable[[Behave], HostileServer]) -> None:
    refusing = threading.Event()

    def behave(connection: socket.socket, turn: int) -> None:
        while not refusing.is_set() and read_request(connection):
            connection.sendall(GOOD)

    with open_load(serve(behave).address) as session:
        session.start()
        refusing.set()
        assert session.collect(seconds=0.2).status.any()
        refusing.clear()
        session.collect(seconds=1.2)  # no pause is longer than a second
        assert (session.collect(seconds=0.1, requests=20, limit=20).status == OK).all()


def test_connections_closed_before_the_load_begins_are_no_failures(serve: Callable[[Behave], HostileServer]) -> None:
    server = serve(answering(GOOD))
    with open_load(server.address, concurrency=2) as session:
        time.sleep(0.05)
        server.hang_up()
        time.sleep(0.3)
        session.start()
        trace = session.collect(seconds=0, requests=20, limit=20)
    assert (trace.status == OK).all()


def test_random_pieces_over_many_connections(serve: Callable[[Behave], HostileServer]) -> None:
    def behave(connection: socket.socket, turn: int) -> None:
        chance = random.Random(turn)
        while read_request(connection):
            data = chance.choice([GOOD, CHUNKED, UNAVAILABLE])
            while data:
                length = chance.randint(1, len(data))
                connection.sendall(data[:length])
                data = data[length:]

    trace = load(serve(behave), concurrency=8, requests=2000)
    assert set(trace.status.tolist()) == {OK, 503}


def test_a_name_with_several_addresses_is_reached_where_it_listens(serve: Callable[[Behave], HostileServer]) -> None:
    _, port = serve(answering(GOOD)).address.split(":")
    with open_load(f"localhost:{port}") as session:
        session.start()
        assert (session.collect(seconds=0, requests=5, limit=20).status == OK).all()


def test_nobody_there_is_an_error_before_the_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EngineError, match="refused"):
        open_load(f"127.0.0.1:{port}")


def test_a_time_out_is_more_than_nothing() -> None:
    with pytest.raises(EngineError, match="time-out of 0 s"):
        open_load("127.0.0.1:1", timeout=0)


@pytest.mark.parametrize("address", ["", "localhost", "localhost:http", ":80"])
def test_an_address_needs_host_and_port(address: str) -> None:
    with pytest.raises(EngineError, match="not an address"):
        open_load(address)


def test_a_session_is_used_in_order(serve: Callable[[Behave], HostileServer]) -> None:
    with open_load(serve(answering(GOOD)).address) as session:
        with pytest.raises(EngineError, match="no load to collect"):
            session.collect(seconds=0)
        session.start()
        with pytest.raises(EngineError, match="starts once"):
            session.start()
        session.stop()
        with pytest.raises(EngineError, match="no load to stop"):
            session.stop()


# -- the worker process


def worker_of(session: WorkerSession) -> subprocess.Popen[bytes]:
    return session._workers[0]._process


def is_gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process that is not our child ends soon. A zombie that nobody waits for has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_worker_that_dies_is_an_error_that_says_how(serve: Callable[[Behave], HostileServer]) -> None:
    with open_load(serve(answering(GOOD)).address) as session:
        session.start()
        threading.Timer(0.2, worker_of(session).kill).start()
        with pytest.raises(EngineError, match="ended by signal 9"):
            session.collect(seconds=20)


def test_the_worker_ends_with_the_session_even_if_it_is_stopped(serve: Callable[[Behave], HostileServer]) -> None:
    with open_load(serve(answering(GOOD)).address) as session:
        session.start()
        worker_of(session).send_signal(signal.SIGSTOP)
    assert worker_of(session).returncode is not None


def test_ctrl_c_ends_a_collection_and_leaves_no_worker(serve: Callable[[Behave], HostileServer]) -> None:
    def interrupt() -> None:
        os.kill(worker_of(session).pid, signal.SIGINT)  # a terminal sends it to both
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with open_load(serve(answering(GOOD)).address) as session:
        session.start()
        threading.Timer(0.2, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            session.collect(seconds=60)
    assert time.monotonic() - began < 20
    assert worker_of(session).returncode == 0  # it went by itself


def test_the_worker_ends_when_its_parent_is_killed(serve: Callable[[Behave], HostileServer]) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        sys.path[:0] = sys.argv[1:3]
        from test_load_hostile import open_load, worker_of
        with open_load(sys.argv[3]) as session:
            session.start()
            print(worker_of(session).pid, flush=True)
            session.collect(seconds=60)
        """
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    words = [sys.executable, "-c", program, *folders, serve(answering(GOOD)).address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not is_gone(worker, 0.1)
        parent.kill()
    assert is_gone(worker)


def test_a_session_leaves_no_descriptor_open(serve: Callable[[Behave], HostileServer]) -> None:
    with open_load(serve(answering(GOOD)).address) as session:
        session.start()
    assert session._workers[0]._socket.fileno() == -1
    assert session._workers[0]._errors.closed


@pytest.mark.parametrize("what", ["tempfile.TemporaryFile", "socket.socketpair", "subprocess.Popen"])
def test_a_worker_that_cannot_be_started_is_an_error(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(what, fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)  # nothing is left to the garbage collector
        with pytest.raises(EngineError, match=r"cannot be started: .*No space left"):
            open_load("127.0.0.1:1")
