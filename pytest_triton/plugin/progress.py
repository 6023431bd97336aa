"""One line that says what is going on while a test measures."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_triton.quantities import Unit, show

if TYPE_CHECKING:
    from pytest_triton.protocol import Progress


class ProgressLine:
    """Writes over itself on a terminal; silent under ``-q``, in xdist workers and where output goes to a file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._wide = 0
        self.subject = ""

    @property
    def _active(self) -> bool:
        return (
            sys.__stderr__ is not None
            and sys.__stderr__.isatty()
            and self._config.get_verbosity() >= 0
            and not hasattr(self._config, "workerinput")
        )

    def say(self, text: str) -> None:
        """Show ``text`` after the subject."""
        if not self._active:
            return
        line = f"  {self.subject}: {text}" if self.subject else f"  {text}"
        self._write("\r" + line.ljust(self._wide)[: max(self._wide, len(line))])
        self._wide = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._wide and self._active:
            self._write("\r" + " " * self._wide + "\r")
        self._wide = 0

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

    def _write(self, text: str) -> None:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            sys.__stderr__.write(text)  # type: ignore[union-attr]
            sys.__stderr__.flush()  # type: ignore[union-attr]
