"""Perf Analyzer's program: where it is, a run of it, and what it says when it gives up."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from pytest_triton.errors import EngineError

NAME = "perf_analyzer"
EXPORT = "export.json"
EXPORTING = ("--profile-export-file", EXPORT)
GRACE = 5.0
"""Seconds that it has, once told to end, to finish what is in flight and remove its shared memory."""
_NOTHING_MEASURED = "No valid requests recorded"
_ELSEWHERE = (
    "Say where it is with --triton-perf-analyzer=PATH, or docker: to run the one of NVIDIA's SDK image, or use the "
    "wire engine."
)
_THREAD_ERROR = re.compile(r"Thread \[\d+\] had error: (.+)")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to; ``empty`` when no request completed in one of its windows."""

    output: str
    cpu_seconds: float
    empty: bool


class Program(Protocol):
    """Perf Analyzer, found and tried, on this machine's network."""

    def run(self, words: Sequence[str], *, folder: Path, timeout: float) -> Run:
        """Run it to its end. Its ``words`` name files of ``folder``, where its profile export is then, as ``EXPORT``.

        Raises ``EngineError`` with its own reason when it gives up, or takes more than ``timeout`` seconds.
        """

    def close(self) -> None:
        """Give back what it takes to run it."""


@dataclass(frozen=True, slots=True)
class Binary:
    """The binary at ``path``."""

    path: str

    @classmethod
    def find(cls, path: str = "") -> Self:
        """Take the binary at ``path``, or on PATH, and try whether it starts. Raises ``EngineError``."""
        found = shutil.which(path or NAME)
        if found is None:
            what = f"there is no Perf Analyzer at {path}" if path else "there is no perf_analyzer on PATH"
            raise EngineError(what, hint=_ELSEWHERE)
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
        return cls(str(Path(found).absolute()))

    def run(self, words: Sequence[str], *, folder: Path, timeout: float) -> Run:
        """Run it to its end."""
        before = _children_cpu()
        # A session of its own: Ctrl-C is for us to act on.
        with subprocess.Popen(
            [self.path, *words, *EXPORTING],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=folder,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise late(timeout) from error
            except BaseException:
                _end(process)
                raise
        return judge(process.returncode, output, _children_cpu() - before)

    def close(self) -> None:
        """Do nothing: between its runs there is nothing."""


def judge(code: int, output: str, cpu_seconds: float) -> Run:
    """Return what a run came to by its exit status, negative for a signal. Raises ``EngineError`` when it gave up."""
    if code == 0:
        return Run(output, cpu_seconds, empty=False)
    if _NOTHING_MEASURED in output and not _THREAD_ERROR.search(output):
        return Run(output, cpu_seconds, empty=True)
    raise _failure(code, output)


def late(timeout: float) -> EngineError:
    """Return the error of a run that took longer than ``timeout`` seconds."""
    return EngineError(f"Perf Analyzer did not end within {timeout:g} s")


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
            process.communicate(timeout=GRACE)
            return


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
