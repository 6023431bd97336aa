"""One line that says what is going on while a test measures."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

import pytest

from pytest_triton.quantities import Unit, show

if TYPE_CHECKING:
    from pytest_triton.protocol import Progress

# ANSI: index (down, scrolling at the bottom, column kept), up; save, down, line start, erase line; restore.
_MAKE_ROOM = "\x1bD\x1b[A"
_BELOW, _BACK = "\x1b7\x1b[B\r\x1b[K", "\x1b8"


class ProgressLine:
    """Writes below pytest's own line on a terminal; silent under ``-q``, in xdist workers and into files.

    pytest redirects the standard streams while a test runs, so this goes to the controlling terminal.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._terminal: IO[str] | None = None
        self._shown = False
        self.subject = ""

    def say(self, text: str) -> None:
        """Show ``text`` after the subject."""
        terminal = self._open()
        if terminal is None:
            return
        line = f"{self.subject}: {text}" if self.subject else text
        width = os.get_terminal_size(terminal.fileno()).columns - 1
        terminal.write(f"{_MAKE_ROOM}{_BELOW}{line[:width]}{_BACK}")
        terminal.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._terminal is not None:
            self._terminal.write(f"{_BELOW}{_BACK}")
            self._terminal.flush()
        self._shown = False

    def close(self) -> None:
        """Take the line away for good."""
        self.clear()
        if self._terminal is not None:
            self._terminal.close()
        self._terminal = None

    def measuring(self, progress: Progress) -> None:
        """Show how far a measurement is: elapsed of at most, and the estimate so far."""
        rate = show(progress.throughput, Unit.PER_SECOND)
        self.say(
            f"{progress.phase}, {progress.elapsed:.0f} s of at most {progress.at_most:.0f} s, "
            f"{progress.requests:,} requests, {rate}"
        )

    def alternating(self, done: int, total: int) -> None:
        """Show how far a comparison is."""
        self.say(f"leader against default, block {done} of {total}")

    def _open(self) -> IO[str] | None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or not reporter.isatty or self._config.get_verbosity() < 0:
            return None
        if self._terminal is None:
            try:
                self._terminal = open("/dev/tty", "w", encoding="utf-8")  # noqa: PTH123, SIM115
            except OSError:
                return None
        return self._terminal
