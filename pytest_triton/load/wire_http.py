"""A load of HTTP requests over connections that one thread drives with epoll.

Standard library only: this runs in the worker. Requests come as finished wire bytes and are sent again
and again. The usual answer, one that comes in one piece with a header block seen before, costs two
system calls, a dictionary look-up and four appends here; everything else takes the careful path of
``http_connections``.
"""

from __future__ import annotations

import time

from pytest_triton.load.answers import UNSEEN
from pytest_triton.load.http_connections import HttpConnections
from pytest_triton.load.place import Phase
from pytest_triton.load.status import OK
from pytest_triton.load.turns import Rotation


class HttpLoad(HttpConnections):
    """A load over HTTP."""

    _head, _length = b"", -1
    """The header block of the last usual answer, and the length of the whole of it."""

    def _serve(self, events: list[tuple[int, int]]) -> int:
        clock = time.monotonic_ns
        waiting = self._waiting.get
        turns = self._turns
        # Where nothing depends on the place, the next request goes out before the answer is looked at any closer.
        take = turns.take if isinstance(turns, Rotation) and self._sending and self._arrivals is None else None
        answers, answer = self.answers, UNSEEN
        records = self.records
        add_sent, add_first = records.sent.append, records.first.append
        add_done, add_status = records.done.append, records.status.append
        add_request = records.request.append if records.request is not None else None
        add_answer = records.answer.append if records.answer is not None else None
        buffer = self._buffer
        begins_with = buffer.startswith
        head, length = self._head, self._length
        ready = received = 0
        for fd, event in events:
            connection = waiting(fd)
            if connection is None:
                if fd == self._control:
                    ready = event
                else:
                    self._attend(fd, event)
                continue
            try:
                size = connection.recv_into(buffer)
            except OSError as error:
                self._fail_receiving(connection, error)
                continue
            now = clock()
            if size != length or not begins_with(head):
                data = bytes(memoryview(buffer)[:size])
                end = data.find(b"\r\n\r\n")
                if self._usual.get(data[:end]) != size:
                    self._receive(connection, data, now)
                    continue
                head, length = data[: end + 4], size
            received += size - len(head)
            body = memoryview(buffer)[len(head) : size].tobytes() if connection.parser.keeping else b""
            if take is None:
                del self._waiting[fd]
                connection.phase = Phase.IDLE
                connection.first = 0
                if answers is not None:
                    answer = answers.number(connection.turn.request, body) if body else UNSEEN
                self._end(connection, OK, now, answer)
                self._go_on(connection, now)
                continue
            payload, request = take()
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
            if add_answer is not None and answers is not None:
                add_answer(answers.number(connection.turn.request, body) if body else UNSEEN)
                connection.parser.keeping = answers.wanted()
            if add_request is not None:
                add_request(connection.turn.request)
            connection.turn.request = request
            if gone != len(payload):
                if gone < 0:
                    self._fail_sending(connection, broken)
                else:
                    self._wait_to_send(connection, memoryview(payload)[gone:])
        self._head, self._length = head, length
        self.received += received
        return ready
