"""Whose a thing is that outlives a process: which one made it, on which machine, and whether that one is gone.

Standard library only: processes that wait for the end of another one import it.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FIELDS = 5
_SIGNED = re.compile(r"pytest-triton-[0-9a-z-]*\.(\d+)\.(\d+)\.(\d+)\.[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from every other that has had, or will have, its id.

    ``host`` is the machine's or the container's name, ``boot`` the id that the kernel gave itself when it started,
    ``namespace`` the one that the process id belongs to, ``started`` clock ticks since the kernel did.
    """

    host: str
    boot: str
    namespace: int
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), namespace(), pid, started(pid))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return what ``str`` has made a text of; None for any other text."""
        fields = text.split()
        if len(fields) != _FIELDS or not all(field.isascii() and field.isdigit() for field in fields[2:]):
            return None
        return cls(fields[0], fields[1], *(int(field) for field in fields[2:]))

    def __str__(self) -> str:
        return f"{self.host} {self.boot} {self.namespace} {self.pid} {self.started}"

    def is_gone(self) -> bool:
        """Say whether the process has ended for certain. Of one on another machine, or in another container, nobody
        knows here.
        """
        if self.boot != _boot():
            return self.host == socket.gethostname()
        return self.namespace == namespace() and started(self.pid) != self.started


def sign(begin: str) -> str:
    """Return a name for a block of shared memory that no other one has: ``begin``, this process, and chance.

    Memory is not shared with another machine, nor does it outlive this one's end.
    """
    pid = os.getpid()
    return f"{begin}.{namespace()}.{pid}.{started(pid)}.{secrets.token_hex(4)}"


def is_abandoned(name: str) -> bool:
    """Say whether a name was signed by a process that is gone for certain."""
    match = _SIGNED.fullmatch(name)
    if match is None:
        return False
    there, pid, since = (int(number) for number in match.groups())
    # Containers may share memory and not process ids: what lives there cannot be seen from here.
    return there == namespace() and started(pid) != since


def namespace() -> int:
    """Return the namespace of this process's id: what lives in another one, as in a container, cannot be seen here."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        return 0


def started(pid: int) -> int:
    """Return when a process started, in clock ticks since the machine did; 0 where none runs under that id.

    One that has ended, and that its parent has not waited for yet, runs no more.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The program's name stands in parentheses and may hold any byte.
    fields = stat.rpartition(b")")[2].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "-"
    except OSError:
        return "-"
