"""A closed loop of HTTP requests over connections that one thread drives with epoll.

Standard library only: this runs in the worker. Requests come as finished wire bytes and are sent again
and again. The usual answer, one that comes in one piece with a header block seen before, costs three
system calls, a dictionary look-up and four appends here; everything else takes the careful path of
``http_connections``.
"""

from __future__ import annotations

import select
import time

from pytest_triton.load.connection import Phase, Records
from pytest_triton.load.http_connections import HttpConnections
from pytest_triton.load.patience import is_hopeless
from pytest_triton.load.status import OK


class HttpLoad(HttpConnections):
    """A load that goes on while ``run`` is called again and again. The readiness of ``control`` ends a ``run``."""

    def start(self) -> None:
        """Begin to send on every connection."""
        self._sending = True
        now = time.monotonic_ns()
        for connection in self._connections:
            if connection.phase is Phase.IDLE:
                self._begin(connection, now)
            elif connection.phase is Phase.CLOSED:
                self._connect(connection, now)
            else:
                connection.assigned, connection.sent = True, now

    def drain(self) -> None:
        """Begin nothing new. What waits for a connection is forgotten: nothing of it was sent."""
        self._sending = False
        for connection in self._connections:
            connection.resume = 0
            if connection.phase is Phase.CONNECTING:
                self._close(connection)
                connection.assigned = False

    @property
    def drained(self) -> bool:
        """Whether nothing is in flight."""
        return not any(connection.assigned for connection in self._connections)

    def hopeless(self) -> str:
        """Say why nothing succeeds any more on any connection; empty while something might."""
        return self._last_reason if is_hopeless(self._connections, time.monotonic_ns()) else ""

    def take_records(self) -> Records:
        """Return what completed since the last call."""
        records, self.records = self.records, Records()
        return records

    def watch_control(self, *, writable: bool) -> None:
        """Let ``run`` also return when there is room to write to the control, if ``writable``."""
        self._epoll.modify(self._control, select.EPOLLIN | (select.EPOLLOUT if writable else 0))

    def run(self, until: int, count: int = 1 << 62, *, drain: bool = False) -> int:
        """Drive the load until the monotonic time ``until`` (ns), or ``count`` records are there.

        With ``drain``, also until nothing is in flight. Returns the control's epoll events when it is
        ready, else 0.
        """
        clock = time.monotonic_ns
        poll = self._epoll.poll
        waiting = self._waiting.get
        next_payload = self._next_payload
        sending = self._sending
        control = self._control
        records = self.records
        add_sent, add_first = records.sent.append, records.first.append
        add_done, add_status = records.done.append, records.status.append
        done = records.done
        buffer = self._buffer
        begins_with = buffer.startswith
        head, length = b"", -1
        ready = received = 0
        now = clock()
        while now < until and len(done) < count and not ready and not (drain and self.drained):
            wake = self._sweep_at if self._sweep_at < until else until
            events = poll((wake - now) * 1e-9 if wake > now else 0)
            if not events:
                now = clock()
            for fd, event in events:
                connection = waiting(fd)
                if connection is None:
                    if fd == control:
                        ready = event
                    else:
                        self._attend(fd, event)
                    now = clock()
                    continue
                try:
                    size = connection.recv_into(buffer)
                except OSError as error:
                    self._fail_receiving(connection, error)
                    continue
                now = clock()
                if size != length or not begins_with(head) or not sending:
                    data = bytes(memoryview(buffer)[:size])
                    end = data.find(b"\r\n\r\n")
                    if self._usual.get(data[:end]) != size or not sending:
                        self._receive(connection, data, now)
                        continue
                    head, length = data[: end + 4], size
                # The next request goes out before anything is written down about this one.
                payload = next_payload()
                sent = connection.sent
                connection.sent = clock()
                try:
                    gone = connection.send(payload)
                except BlockingIOError:
                    gone = 0
                except OSError as error:
                    gone = -1
                    broken = error
                add_sent(sent)
                add_first(now)
                add_done(now)
                add_status(OK)
                received += size - len(head)
                if gone != len(payload):
                    if gone < 0:
                        self._fail_sending(connection, broken)
                    else:
                        self._wait_to_send(connection, memoryview(payload)[gone:])
            if now >= self._sweep_at:
                self._sweep(now)
        self.received += received
        return ready
