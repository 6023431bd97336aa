"""The server's log: its last lines, and those that tell what went wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

TAIL_BYTES = 65536
TELLING = 12

_ERROR = re.compile(r"^(?:[EF]\d{4} |error:|Traceback |.*(?:error while loading shared libraries|[Ee]xception: ))")
# What every server says on a machine without a GPU, and when it is stopped from outside. None of it is a cause.
_HARMLESS = re.compile(
    r"NVML|DCGM|CudaDriverHelper|CUDA driver|pinned (?:system )?memory|cuda_memory_manager|Non-graceful termination"
    r"|unable to get the GPU|cuInit|libcuda"
)


def read_tail(log: Path, *, size: int = TAIL_BYTES) -> list[str]:
    """Return the last lines of ``log``, at most ``size`` bytes of them; none if there is no such file."""
    try:
        with log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - size))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return lines[1:] if end > size else lines


def telling_lines(log: Path, *, count: int = TELLING) -> list[str]:
    """Pick the last lines of ``log`` that report an error, or simply the last ones when none does."""
    lines = [line.rstrip() for line in read_tail(log) if line.strip()]
    errors = [line for line in lines if _ERROR.match(line) and not _HARMLESS.search(line)]
    return errors[-count:] or lines[-count:]
