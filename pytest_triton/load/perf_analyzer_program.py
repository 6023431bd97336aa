"""Perf Analyzer's binary: where it is, a run of it, and what it says when it gives up."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pytest_triton.errors import EngineError

_NAME = "perf_analyzer"
_NOTHING_MEASURED = "No valid requests recorded"
_THREAD_ERROR = re.compile(r"Thread \[\d+\] had error: (.+)")
_GRACE = 5.0
"""Seconds that it has, once told to end, to finish what is in flight and remove its shared memory."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of the binary came to; ``empty`` when no request completed in one of its windows."""

    output: str
    cpu_seconds: float
    empty: bool


@dataclass(frozen=True, slots=True)
class Program:
    """The binary at ``path``; ``version`` is its own line about itself."""

    path: str
    version: str

    @classmethod
    def find(cls, path: str = "") -> Self:
        """Take the binary at ``path``, or on PATH, and try whether it starts. Raises ``EngineError``."""
        found = shutil.which(path or _NAME)
        if found is None:
            what = f"there is no Perf Analyzer at {path}" if path else "there is no perf_analyzer on PATH"
            raise EngineError(what, hint="Say where it is with --triton-perf-analyzer=PATH, or use the wire engine.")
        try:
            ran = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"Perf Analyzer at {found} does not start: {error}") from error
        if ran.returncode:
            raise EngineError(
                f"Perf Analyzer at {found} does not start",
                details=(ran.stderr or ran.stdout).splitlines()[:5],
                hint="Shared libraries are looked for in LD_LIBRARY_PATH, too.",
            )
        return cls(found, (ran.stdout + ran.stderr).strip())

    def run(self, words: Sequence[str], *, timeout: float) -> Run:
        """Run it to its end. Raises ``EngineError`` with its own reason when it gives up, or takes too long."""
        before = _children_cpu()
        # A session of its own: Ctrl-C is for us to act on.
        with subprocess.Popen(
            [self.path, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise EngineError(f"Perf Analyzer did not end within {timeout:g} s") from error
            except BaseException:
                _end(process)
                raise
        cpu = _children_cpu() - before
        if process.returncode == 0:
            return Run(output, cpu, empty=False)
        if _NOTHING_MEASURED in output and not _THREAD_ERROR.search(output):
            return Run(output, cpu, empty=True)
        raise _failure(process.returncode, output)


def _failure(code: int, output: str) -> EngineError:
    reasons = list(dict.fromkeys(_THREAD_ERROR.findall(output)))
    lines = [line for line in output.splitlines() if line.strip()]
    how = f"ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
    if reasons:
        return EngineError(
            f"Perf Analyzer gave up: {reasons[0]}",
            details=reasons[1:6],
            hint="A failed request ends its run; the wire engine counts failures and goes on.",
        )
    return EngineError(f"Perf Analyzer {how}", details=lines[-10:])


def _end(process: subprocess.Popen[str]) -> None:
    """End it, at best so that it removes what it has put into shared memory; the second signal skips its waiting."""
    for urge in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        process.send_signal(urge)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE)
            return


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
