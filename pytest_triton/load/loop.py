"""What the loops of every protocol share: places, arrivals, time-outs, pauses, records, and the wait for events.

Standard library only: this runs in the worker.
"""

from __future__ import annotations

import abc
import contextlib
import select
import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from pytest_triton.load.answers import Answers
from pytest_triton.load.patience import FIRST_PAUSE, is_hopeless, pause_after
from pytest_triton.load.place import Phase, Place
from pytest_triton.load.records import Records
from pytest_triton.load.status import OK, TIMED_OUT
from pytest_triton.load.turns import Rotation, Sequences

SECOND = 1_000_000_000
NEVER = 1 << 62


class Loop(abc.ABC):
    """A load that goes on while ``run`` is called again and again, its places driven by one thread over epoll.

    In closed loop each place sends its next request when the one before has ended. In open loop ``arrivals`` says when
    requests are due, in ns from the start; each goes to a free place, and waits for one, its latency counting, when
    there is none. A request without an answer after ``timeout`` seconds is a failure, and so is everything else that
    can go wrong; the load goes on. A place whose requests keep failing pauses before the next, longer and longer up to
    one second. ``control`` is a file descriptor that is watched beside the connections: its readiness ends a ``run``.
    """

    def __init__(
        self,
        turns: Rotation | Sequences,
        *,
        name: str,
        timeout: float,
        control: int,
        arrivals: Iterator[int] | None = None,
        columns: Collection[str] = (),
        answers: Answers | None = None,
    ) -> None:
        self._turns = turns
        self._name = name
        """The server's, for reasons."""
        self._timeout = int(timeout * SECOND)
        self._sweep_every = min(max(self._timeout // 20, FIRST_PAUSE), SECOND // 10)
        self._sweep_at = 0
        self._arrivals = arrivals
        self._backlog: deque[int] = deque()
        """Arrivals that are due and wait for a place."""
        self._due = NEVER
        """When the next request is due; in closed loop never."""
        self._begun_at = 0
        self._stalled = False
        """Something is due, and no place was free for it."""
        self._epoll = select.epoll()
        self._control = control
        self._epoll.register(control, select.EPOLLIN)
        self._places: list[Place] = []
        self._sending = False
        self._last_reason = ""
        self._overall = Place() if arrivals is not None else None
        """What became of the requests of all places in open loop, where many places may do nothing for long."""
        self._forgotten = 0
        """Requests that were due when the load ended, and never sent."""
        self.answers = answers
        self.records = Records(columns)
        self.reasons: dict[int, str] = {}
        self.received = 0
        """Bytes of the bodies of successful answers."""
        self.dispatched = 0
        """Requests that were sent when they were due, or later."""
        if arrivals is not None:
            # The kernel may let a sleeper lie up to 50 us longer than it asked; an arrival is due on time.
            with contextlib.suppress(OSError):
                Path("/proc/self/timerslack_ns").write_text("1", encoding="ascii")

    @abc.abstractmethod
    def open(self, seconds: float) -> None:
        """Connect everything, within ``seconds``. Raises ``OSError`` when the server cannot be reached."""

    @abc.abstractmethod
    def _disconnect(self) -> None:
        """Close what ``open`` and the load have opened."""

    @abc.abstractmethod
    def _serve(self, events: list[tuple[int, int]]) -> int:
        """Attend to what is ready; return the control's events if it is among them, else 0."""

    @abc.abstractmethod
    def _begin(self, place: Place) -> None:
        """Send the next request on a free place, or connect first and send it then."""

    @abc.abstractmethod
    def _free_place(self) -> Place | None:
        """Take a place that is free for a request that is due; None when all are taken."""

    @abc.abstractmethod
    def _abandon(self, place: Place) -> None:
        """Let go of what is in flight on a place, so that a late answer is not taken for the next request's."""

    @abc.abstractmethod
    def _park(self, place: Place) -> None:
        """Keep a place that is free until it is asked for."""

    def close(self) -> None:
        """Close all connections; nothing may be in flight."""
        self._disconnect()
        self._epoll.close()

    def start(self, at: int) -> None:
        """Begin to send: on every place, or when the first request is due after ``at``."""
        self._sending = True
        self._begun_at = at
        if self._arrivals is not None:
            self._due = at + next(self._arrivals)
            for place in self._places:
                if place.phase is not Phase.CONNECTING:
                    self._park(place)
            return
        for place in self._places:
            place.scheduled = place.sent = time.monotonic_ns()
            self._begin(place)

    def drain(self) -> None:
        """Begin nothing new, but end the sequences that are under way. What waits for its turn is forgotten."""
        self._forgotten = self.offered(time.monotonic_ns()) - self.dispatched
        self._sending = False
        self._due = NEVER
        self._arrivals = None
        self._backlog.clear()
        if isinstance(self._turns, Sequences):
            self._turns.ending = True
        for place in self._places:
            place.resume = 0
            if place.phase is Phase.CONNECTING and place.assigned and not self._turns.is_open(place.turn):
                self._abandon(place)
                place.assigned = False
            elif not place.assigned and self._turns.is_open(place.turn):
                place.scheduled = time.monotonic_ns()
                self._begin(place)

    @property
    def drained(self) -> bool:
        """Whether nothing is in flight."""
        return not any(place.assigned for place in self._places)

    def hopeless(self) -> str:
        """Say why nothing succeeds any more on any place; empty while something might."""
        if self._overall is not None:
            tried = [self._overall]
        else:
            tried = [place for place in self._places if place.assigned or place.sent]
        return self._last_reason if tried and is_hopeless(tried, time.monotonic_ns()) else ""

    def offered(self, now: int) -> int:
        """Count the requests that have become due up to ``now``."""
        while self._arrivals is not None and self._due <= now:
            self._backlog.append(self._due)
            self._due = self._begun_at + next(self._arrivals)
        return self.dispatched + len(self._backlog) + self._forgotten

    def watch_control(self, *, writable: bool) -> None:
        """Let ``run`` also return when there is room to write to the control, if ``writable``."""
        self._epoll.modify(self._control, select.EPOLLIN | (select.EPOLLOUT if writable else 0))

    def forget_control(self) -> None:
        """Watch the control no more: nobody is at its other end."""
        self._epoll.unregister(self._control)

    def run(self, until: int, count: int = NEVER, *, drain: bool = False) -> int:
        """Drive the load until the monotonic time ``until`` (ns), or ``count`` records are there.

        With ``drain``, also until nothing is in flight. Returns the control's epoll events when it is
        ready, else 0.
        """
        clock = time.monotonic_ns
        poll = self._epoll.poll
        serve = self._serve
        done = self.records.done
        ready = 0
        now = clock()
        while now < until and len(done) < count and not ready and not (drain and self.drained):
            if now >= self._sweep_at:
                self._sweep(now)
            wake = min(self._sweep_at, until)
            if self._arrivals is not None:
                if self._due <= now or self._backlog:
                    self._dispatch(now)
                    now = clock()
                if not self._stalled and self._due < wake:
                    wake = self._due
                if wake > now:
                    # epoll counts in milliseconds, and rounds up.
                    select.select((self._epoll,), (), (), (wake - now) * 1e-9)
                    now = wake
            events = poll((wake - now) * 1e-9 if wake > now else 0)
            if events:
                ready = serve(events)
            now = clock()
        return ready

    def _dispatch(self, now: int) -> None:
        """Send what is due, as far as places are free."""
        arrivals, backlog = self._arrivals, self._backlog
        assert arrivals is not None
        self._stalled = False
        while backlog or self._due <= now:
            place = self._free_place()
            if place is None:
                self._stalled = True
                return
            if backlog:
                place.scheduled = backlog.popleft()
            else:
                place.scheduled = self._due
                self._due = self._begun_at + next(arrivals)
            self.dispatched += 1
            self._begin(place)

    def _sweep(self, now: int) -> None:
        """Find what ran out of time, and what has paused long enough."""
        paused = False
        for place in self._places:
            if place.assigned and now - place.sent > self._timeout:
                seconds = self._timeout / SECOND
                self._fail(place, TIMED_OUT, f"no answer from {self._name} within {seconds:g} s")
            elif place.resume and now >= place.resume:
                place.resume = 0
                if self._sending:
                    place.scheduled = now
                    self._begin(place)
            paused = paused or place.resume > 0
        self._sweep_at = now + (FIRST_PAUSE if paused else self._sweep_every)

    def _fail(self, place: Place, status: int, reason: str, *, keep: bool = False) -> None:
        """Record the place's request as failed and go on, anew unless what it used can be kept."""
        now = time.monotonic_ns()
        pause = 0
        if not keep:
            self._abandon(place)
        if place.assigned:
            self.reasons.setdefault(status, reason)
            self._last_reason = reason
            for tally in (place, self._overall):
                if tally is not None:
                    tally.failing_since = tally.failing_since if tally.failures else now
                    tally.failures += 1
            place.turn.left = 0  # the rest of its sequence would make no sense to the model
            self._end(place, status, now)
            pause = pause_after(status, place.failures)
        self._go_on(place, now, pause=pause)

    def _end(self, place: Place, status: int, now: int, answer: int = -1) -> None:
        """Record the place's request."""
        self.records.add(place, status, now, answer)
        if status == OK and self._overall is not None:
            self._overall.failures = 0
        place.assigned = False
        if place.responses:
            place.responses = []

    def _go_on(self, place: Place, now: int, *, pause: int = 0) -> None:
        """Send the next request here, at once or after a pause of ns, or keep the place for when one is due."""
        if not self._sending:
            if self._turns.is_open(place.turn):
                place.scheduled = now
                self._begin(place)
        elif self._arrivals is not None:
            self._stalled = False
            self._park(place)
        elif pause:
            place.resume = now + pause
        else:
            place.scheduled = now
            self._begin(place)
