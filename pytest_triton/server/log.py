"""The servers' log: where each begins, its last lines, those that tell what went wrong, why a model was refused."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

NAME = "server.log"
MOST_BYTES = 2**28
TAIL_BYTES = 65536
TELLING = 12

_BEGINS = "=== pytest-triton: "
_ERROR = re.compile(
    r"^(?:[EF]\d{4} |error:|Traceback |.*(?:unrecognized option|error while loading shared libraries|[Ee]xception: ))"
)
# What every server says on a machine without a GPU, and when it is stopped from outside. None of it is a cause.
_HARMLESS = re.compile(
    r"NVML|DCGM|CudaDriverHelper|CUDA driver|pinned (?:system )?memory|cuda_memory_manager|Non-graceful termination"
    r"|unable to get the GPU|cuInit|libcuda"
)
_WHENCE = re.compile(r"^(?:[EFIW]\d{4} [\d:.]+ \d+ \S+:\d+\] |\S*/tritonserver: |error: )")
_POLL_FAILED = re.compile(r"[Ff]ailed (?:for model directory|to poll model) '([^']*)': (.*?)\"?$")
_UNREADABLE = "failed to read text proto"
_PARSER = re.compile(r"Error parsing text-format \S+: (\d+:\d+: .*)$")


def begin(log: Path, server: str) -> None:
    """Write a line into ``log`` that says that ``server`` begins, after what others have left there.

    It begins anew when that is more than ``MOST_BYTES``. Where pytest runs, the line names the test that wants it.
    """
    before = measure(log)
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    line = f"{_BEGINS}{server}, {time.strftime('%Y-%m-%d %H:%M:%S')}{test and f', started in {test}'} ===\n"
    with log.open("ab" if before <= MOST_BYTES else "wb") as stream:
        stream.write((f"\n{line}" if 0 < before <= MOST_BYTES else line).encode("utf-8", "backslashreplace"))


def read_tail(log: Path, *, size: int = TAIL_BYTES) -> list[str]:
    """Return the last lines of ``log``, at most ``size`` bytes of them; none if there is no such file.

    Only those of the last server that has begun there.
    """
    try:
        with log.open("rb") as stream:
            first = max(0, stream.seek(0, os.SEEK_END) - size)
            # One byte more tells whether the first line is whole.
            stream.seek(max(0, first - 1))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = text.splitlines()[1 if first else 0 :]
    begins = [place for place, line in enumerate(lines) if line.startswith(_BEGINS)]
    return lines[begins[-1] + 1 :] if begins else lines


def telling_lines(log: Path, *, count: int = TELLING) -> list[str]:
    """Pick the last lines of ``log`` that report an error, or simply the last ones when none does."""
    errors = [line.rstrip() for line in read_tail(log) if reports_error(line)]
    return errors[-count:] or last_lines(log, count=count)


def reports_error(line: str) -> bool:
    """Say whether a line of a log reports an error that may be a cause of something."""
    return _ERROR.match(line) is not None and _HARMLESS.search(line) is None


def plain(line: str) -> str:
    """Return what a line of the log says, without when, and from where in the program.

    >>> plain('E1125 19:28:11.557776 25309 main.cc:174] "no such file"')
    'no such file'
    """
    return _WHENCE.sub("", line.strip()).strip('"')


def last_lines(log: Path, *, count: int = TELLING) -> list[str]:
    """Return the last lines of ``log`` that are not empty."""
    return [line.rstrip() for line in read_tail(log) if line.strip()][-count:]


def measure(log: Path | None) -> int:
    """Return the size of ``log`` in bytes, 0 if there is none."""
    try:
        return log.stat().st_size if log is not None else 0
    except FileNotFoundError:
        return 0


def find_refusal(log: Path, model: str, *, since: int) -> str:
    """Find out why Triton could not even look at ``model``'s folder; "" when ``log`` does not say.

    The load API then answers "failed to poll from model repository" and nothing else. Only what was written from the
    byte ``since`` on counts. A config.pbtxt that cannot be parsed is described as ``config.pbtxt:LINE:COLUMN: ...``.
    """
    parser = ""
    for line in read_tail(log, size=min(TAIL_BYTES, max(0, measure(log) - since))):
        parsed = _PARSER.search(line)
        if parsed is not None:
            parser = parsed[1]
        failed = _POLL_FAILED.search(line)
        if failed is not None and failed[1] == model:
            if failed[2].startswith(_UNREADABLE) and parser:
                return f"config.pbtxt:{parser}"
            return failed[2]
    return ""
