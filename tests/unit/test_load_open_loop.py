"""Open loop, sequences, several workers and TLS, with a good server of the test's own that counts what it sees."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hostile import GOOD, HostileServer, read_request
from hostile_grpc import Asked, Peer, Witness
from in_process import column, finish, in_process, plan_for
from tls import Certificates, make_certificates

from pytest_triton.case import Load
from pytest_triton.errors import EngineError
from pytest_triton.load import Plan, Request, RequestSet, WireEngine, WorkerSession, grpc_channels, http_connections
from pytest_triton.load.base import TLS
from pytest_triton.load.place import Phase
from pytest_triton.load.session import _cut, _join
from pytest_triton.load.status import OK
from pytest_triton.observation import Trace

Serve = Callable[..., HostileServer]


class Server:
    """Answers well over one protocol, after ``wait`` was called with the request's number."""

    def __init__(
        self,
        serve: Serve,
        protocol: str,
        *,
        wait: Callable[[int], None] = lambda number: None,
        answer: bytes = GOOD,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.protocol = protocol
        self.witness = Witness()
        self.flags: list[dict[str, Any]] = []
        self._wait = wait
        self._answer = answer
        self._numbers = 0
        behave = self._http if protocol == "http" else self.witness.playing(self._grpc)
        self.server = serve(behave, context=context)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _http(self, connection: socket.socket, turn: int) -> None:
        while body := read_request(connection):
            self.witness.saw("request")
            sent, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
            self.flags.append(sent.get("parameters", {}))
            self._wait(self._number())
            connection.sendall(self._answer)
            if b"Connection: close" in self._answer:
                return

    def _grpc(self, peer: Peer, turn: int) -> None:
        lock = threading.Lock()

        def reply(asked: Asked) -> None:
            self._wait(self._number())
            with lock:
                peer.answer(asked)

        while True:
            asked = peer.request()
            self.witness.saw("request")
            self.flags.append(asked.parameters)
            # One that waits must not hold up the others on its connection.
            threading.Thread(target=reply, args=(asked,), daemon=True).start()

    @property
    def count(self) -> int:
        return self.witness["request"]


def open_load(
    server: Server, *, workers: int = 1, string_ids: bool = False, tls: TLS | None = None, **load: Any
) -> Any:
    request = Request("m", {"IN": np.zeros(2, dtype=np.float32)}, {"IN": "FP32"})
    plan = Plan(
        server.server.address,
        Load(protocol=server.protocol, **load),  # type: ignore[arg-type]
        RequestSet.of(request),
        timeout=10.0,
        workers=workers,
        string_ids=string_ids,
        tls=tls,
    )
    return WireEngine().open(plan)


def run(session: WorkerSession, *, windows: int = 3, seconds: float = 0.1) -> list[Trace]:
    with session:
        session.start()
        return [*(session.collect(seconds=seconds) for _ in range(windows)), session.stop()]


def together(traces: list[Trace], name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([getattr(trace, name) for trace in traces])


protocols = pytest.mark.parametrize("protocol", ["http", "grpc"])


@protocols
@pytest.mark.parametrize("workers", [1, 3])
def test_requests_are_sent_as_scheduled_and_counted_once(serve: Serve, protocol: str, workers: int) -> None:
    server = Server(serve, protocol)
    traces = run(open_load(server, rate=250.0, arrivals="constant", workers=workers))
    assert (together(traces, "status") == OK).all()
    assert sum(map(len, traces)) == server.count
    assert sum(trace.dispatched for trace in traces) == server.count
    assert sum(trace.offered for trace in traces) >= server.count
    assert all(trace.offered >= 0 for trace in traces)
    scheduled = np.sort(together(traces, "scheduled"))
    gaps = np.diff(scheduled)
    assert len(gaps) > 50
    if workers == 1:
        assert (gaps == 4_000_000).all()
    else:
        # Each worker ends a little before or after the others; up to there all have sent their share.
        assert (gaps[:-workers] == 4_000_000).all()
    assert (together(traces, "sent") >= together(traces, "scheduled")).all()
    assert server.witness.wrongs == []


@protocols
@pytest.mark.parametrize("workers", [2, 3])
def test_windows_of_several_workers_join_without_loss(serve: Serve, protocol: str, workers: int) -> None:
    server = Server(serve, protocol)
    traces = run(open_load(server, concurrency=5, workers=workers), windows=5, seconds=0.05)
    assert sum(map(len, traces)) == server.count
    for earlier, later in itertools.pairwise(traces):
        assert earlier.ended_ns == later.started_ns
    for trace in traces:
        assert ((trace.started_ns <= trace.done) & (trace.done <= trace.ended_ns)).all()
        assert (np.diff(trace.done) >= 0).all()
        assert (trace.offered, trace.dispatched) == (0, 0)


@protocols
def test_latency_counts_from_when_a_request_was_due(serve: Serve, protocol: str) -> None:
    """One sequence at a time, and a server that stalls: what is due in the meantime waits, and is late."""
    stall = 0.3
    server = Server(serve, protocol, wait=lambda number: time.sleep(stall if number == 5 else 0))
    load = open_load(server, rate=100.0, arrivals="constant", concurrency=1, sequence_length=2)
    traces = run(load, windows=2, seconds=0.5)
    order = np.argsort(together(traces, "scheduled"))
    scheduled, sent, done = (together(traces, name)[order] for name in ("scheduled", "sent", "done"))
    # What ends the last sequence after the stop is due then.
    assert (np.diff(scheduled[:-1]) == 10_000_000).all()
    assert (sent[1:] >= done[:-1]).all()
    late = sent - scheduled
    assert late[4] < stall * 1e9 - 20e6 <= late[5] + 1e7
    assert (done - scheduled)[4:20].max() >= stall * 1e9
    assert sum(map(len, traces)) == server.count


@protocols
def test_as_many_are_under_way_as_it_takes(serve: Serve, protocol: str) -> None:
    """More than places were made beforehand: the server answers the first sixty only when all of them have come."""
    everyone = threading.Barrier(60)
    server = Server(serve, protocol, wait=lambda number: everyone.wait(10) and None if number <= 60 else None)
    traces = run(open_load(server, rate=300.0, arrivals="constant"), seconds=0.2)
    assert (together(traces, "status") == OK).all()
    assert sum(map(len, traces)) == server.count >= 60
    assert not everyone.broken
    lasting = together(traces, "done") - together(traces, "scheduled")
    assert lasting.max() >= 59 * 1e9 / 300 - 1e8


@protocols
def test_no_more_are_under_way_than_may_be(serve: Serve, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 20
    monkeypatch.setattr(http_connections, "_descriptors", lambda: most)
    monkeypatch.setattr(grpc_channels, "_MOST", most)
    go_on = threading.Event()
    server = Server(serve, protocol, wait=lambda number: go_on.wait(10) and None)
    plan = plan_for(server.server.address, protocol=protocol, rate=400.0, arrivals="constant")
    with in_process(plan) as loop:
        loop.start(time.monotonic_ns())
        loop.run(time.monotonic_ns() + 300_000_000)
        assert server.count == loop.dispatched == most
        offered = loop.offered(time.monotonic_ns())
        assert offered > 100
        go_on.set()
        loop.run(time.monotonic_ns() + int(5e9), 150)
        finish(loop)
        assert column(loop, "status") == [OK] * server.count
        assert server.count == loop.dispatched >= 150
        assert np.diff(np.sort(column(loop, "scheduled"))).tolist() == [2_500_000] * (server.count - 1)
        assert loop.offered(time.monotonic_ns()) >= offered
    assert server.server.turns <= most


def test_what_was_due_and_never_sent_is_still_counted_as_offered(serve: Serve) -> None:
    server = Server(serve, "http", wait=lambda number: time.sleep(0.05))
    load = open_load(server, rate=500.0, arrivals="constant", concurrency=1, sequence_length=1)
    traces = run(load, seconds=0.1)
    assert all(trace.offered >= 0 for trace in traces)
    assert sum(trace.offered for trace in traces) >= 140
    assert sum(trace.dispatched for trace in traces) == sum(map(len, traces)) == server.count < 20


# -- sequences


@protocols
@pytest.mark.parametrize("string_ids", [False, True])
@pytest.mark.parametrize(
    "load",
    [
        pytest.param({"concurrency": 3}, id="closed"),
        pytest.param({"concurrency": 3, "workers": 2}, id="two workers"),
        pytest.param({"concurrency": 3, "rate": 300.0}, id="open"),
        pytest.param({"concurrency": 3, "closing": True}, id="a connection for each request"),
    ],
)
def test_sequences_are_well_formed_as_the_server_saw_them(
    serve: Serve, protocol: str, string_ids: bool, load: dict[str, Any]
) -> None:
    """Those that the stop met half-way, too."""
    closing = load.get("closing", False)
    answer = GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") if closing else GOOD
    server = Server(serve, protocol, answer=answer)
    options = {name: value for name, value in load.items() if name != "closing"}
    traces = run(open_load(server, sequence_length=(3, 6), string_ids=string_ids, **options))
    assert (together(traces, "status") == OK).all()
    sequences: dict[int | str, list[tuple[bool, bool]]] = {}
    for said in server.flags:
        assert isinstance(said["sequence_id"], str if string_ids else int)
        flags = bool(said.get("sequence_start")), bool(said.get("sequence_end"))
        sequences.setdefault(said["sequence_id"], []).append(flags)
    for flags in sequences.values():
        assert [start for start, _ in flags] == [True] + [False] * (len(flags) - 1)
        assert [end for _, end in flags] == [False] * (len(flags) - 1) + [True]
    lengths = Counter(map(len, sequences.values()))
    assert set(lengths) <= {1, 2, 3, 4, 5, 6}
    assert len([length for length in lengths.elements() if length < 3]) <= 3
    assert len(sequences) > 5
    recorded = Counter(together(traces, "sequence").tolist())
    assert sorted(recorded.values()) == sorted(map(len, sequences.values()))


def test_a_sequence_that_the_stop_meets_without_a_connection_is_ended(serve: Serve) -> None:
    server = Server(serve, "http", answer=GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
    with in_process(plan_for(server.server.address, concurrency=1, sequence_length=50)) as loop:
        loop.start(time.monotonic_ns())
        loop.run(time.monotonic_ns() + int(5e9), 3)
        (place,) = loop._places
        assert place.phase is Phase.CONNECTING
        finish(loop)
        assert column(loop, "status") == [OK] * 4
    assert [bool(said.get("sequence_end")) for said in server.flags] == [False, False, False, True]


# -- windows of several workers, cut and joined


def columns_of(done: list[int], responses: list[int]) -> dict[str, Any]:
    times = [moment * 100 + number for moment, count in zip(done, responses, strict=True) for number in range(count)]
    return {
        "done": np.array(done, dtype=np.int64),
        "responses": np.array(responses, dtype=np.int32),
        "response_at": np.array(times, dtype=np.int64),
    }


@pytest.mark.parametrize("end", range(6))
def test_a_cut_keeps_every_row_and_its_responses(end: int) -> None:
    whole = columns_of([1, 2, 3, 4], [2, 0, 1, 3])
    before, after = _cut(whole, end)
    assert (before["done"] <= end).all()
    assert (after["done"] > end).all()
    joined = _join([before, after])
    for name, values in whole.items():
        assert joined[name].tolist() == values.tolist()
        assert joined[name].dtype == values.dtype
    for part in (before, after):
        assert len(part["response_at"]) == part["responses"].sum()


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def context_of(certificates: Certificates, name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(getattr(certificates, name), getattr(certificates, f"{name}_key"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@protocols
@pytest.mark.parametrize("load", [{"concurrency": 4}, {"rate": 200.0}], ids=["closed", "open"])
def test_a_load_under_tls(serve: Serve, protocol: str, load: dict[str, Any], certificates: Certificates) -> None:
    context = context_of(certificates)
    server = Server(serve, protocol, context=context)
    traces = run(open_load(server, tls=TLS(authorities=certificates.ca), **load))
    assert set(together(traces, "status").tolist()) == {OK}
    assert sum(map(len, traces)) == server.count > 10
    assert set(server.server.spoken) == {"h2" if protocol == "grpc" else None}


@protocols
@pytest.mark.parametrize(
    ("shown", "asked", "match"),
    [
        pytest.param("elsewhere", {"authorities": "ca"}, "certificate is not accepted", id="another name's"),
        pytest.param("server", {}, "certificate is not accepted", id="of an unknown authority"),
        pytest.param("server", {"authorities": "missing"}, "No such file", id="no such file"),
    ],
)
def test_a_wrong_certificate_is_said_before_the_load(
    serve: Serve, protocol: str, shown: str, asked: dict[str, str], match: str, certificates: Certificates
) -> None:
    server = Server(serve, protocol, context=context_of(certificates, shown))
    tls = TLS(**{name: getattr(certificates, value) for name, value in asked.items()})
    with pytest.raises(EngineError, match=match):
        open_load(server, tls=tls)


@protocols
def test_a_certificate_may_be_for_another_name_or_not_looked_at(
    serve: Serve, protocol: str, certificates: Certificates
) -> None:
    server = Server(serve, protocol, context=context_of(certificates, "elsewhere"))
    for tls in (TLS(authorities=certificates.ca, server_name="elsewhere"), TLS(verify=False)):
        traces = run(open_load(server, tls=tls), windows=1)
        assert set(together(traces, "status").tolist()) == {OK}


def test_a_server_without_tls_is_said_before_the_load(serve: Serve, certificates: Certificates) -> None:
    server = serve(lambda connection, turn: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    plan = plan_for(server.address, tls=TLS(authorities=certificates.ca))
    with pytest.raises(EngineError, match="no connection"):
        WireEngine().open(plan)
