"""One line that says what is going on while a test measures."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import pytest

from pytest_triton.quantities import Unit, show

if TYPE_CHECKING:
    from pytest_triton.protocol import Progress

# ANSI: index (down, scrolling at the bottom, column kept), up; save, down, line start, erase line; restore.
_MAKE_ROOM = "\x1bD\x1b[A"
_BELOW, _BACK = "\x1b7\x1b[B\r\x1b[K", "\x1b8"
_WIDTH = 80
"""Columns of a terminal that does not say how many it has."""


class ProgressLine:
    """Writes below pytest's own line on a terminal; silent under ``-q``, in xdist workers and into files.

    pytest redirects the standard streams while a test runs, so this goes to the controlling terminal. What cannot be
    written there any more is lost, and nothing else.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._terminal: IO[str] | None = None
        self._shown = False
        self.subject = ""
        self.outlook = ""
        """How far the search is that the subject is of, and what leads."""

    @property
    def visible(self) -> bool:
        """Whether anybody sees the line."""
        return self._open() is not None

    def say(self, text: str) -> None:
        """Show ``text`` after the subject and the outlook."""
        terminal = self._open()
        if terminal is None:
            return
        about = ", ".join(part for part in (self.subject, self.outlook) if part)
        line = f"{about}: {text}" if about else text
        with suppress(OSError):
            width = (os.get_terminal_size(terminal.fileno()).columns or _WIDTH) - 1
            self._shown = True
            terminal.write(f"{_MAKE_ROOM}{_BELOW}{line[:width]}{_BACK}")
            terminal.flush()

    def clear(self) -> None:
        """Take the line away."""
        shown, self._shown = self._shown, False
        if shown and self._terminal is not None:
            with suppress(OSError):
                self._terminal.write(f"{_BELOW}{_BACK}")
                self._terminal.flush()

    def close(self) -> None:
        """Take the line away for good."""
        self.clear()
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            with suppress(OSError):
                terminal.close()

    def measuring(self, progress: Progress) -> None:
        """Show how far a measurement is: elapsed of at most, throughput, and what is bounded as it is so far."""
        if not self.visible:
            return
        parts = [
            f"{progress.phase}, {progress.elapsed:.0f} s of at most {progress.at_most:.0f} s",
            show(progress.throughput, Unit.PER_SECOND),
            *(
                f"{bound.metric.name} {show(value, bound.metric.unit)} "
                f"({bound.direction.value} {show(bound.limit, bound.metric.unit)})"
                for bound, value in progress.bounded()
            ),
            f"{progress.requests:,} requests",
        ]
        self.say(", ".join(parts))

    def alternating(self, done: int, total: int) -> None:
        """Show how far the end of a search is."""
        self.say(f"finalists against the default, block {done} of {total}")

    def _open(self) -> IO[str] | None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or not reporter.isatty or self._config.get_verbosity() < 0:
            return None
        if os.environ.get("TERM") == "dumb":
            return None
        if self._terminal is None:
            try:
                self._terminal = open("/dev/tty", "w", encoding="utf-8")  # noqa: PTH123, SIM115
            except OSError:
                return None
        return self._terminal
