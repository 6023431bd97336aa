"""Run a server and end it, with everything it started, as soon as the process that asked for it is gone.

Run as a script (``python -I -S supervisor.py``) in a session of its own, so that Ctrl-C in the terminal does not reach
it. It imports only the standard library's light modules: every start of a server waits for it.

Standard input carries one line of JSON, what to look after: ``parent`` (process id), ``shm_prefix``, and
``directories``, which need not be there yet and are removed at the end. Another one says what to run: ``command``,
``environment``. At any time after the first, ``stop SECONDS`` asks the server to end and kills it when it has not after
so long. The end of the input, or another parent, means that the parent is gone: all is killed at once.

Standard output says ``started PID``, then ``ended STATUS`` (negative for a signal). The server's own output goes to
standard error.
"""

# pathlib alone would take as long as all the imports here.
# ruff: noqa: PTH108, PTH112, PTH118, PTH123, PTH208

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = "/dev/shm"
MARK = ".owner"
"""Ends the name of the block that says whose the others are (see ``remains``)."""
CANNOT_RUN = 127
POLL = 0.25
REAP_FOR = 3.0


def remove_blocks(prefix: str) -> None:
    """Remove the shared-memory blocks whose names begin with ``prefix``.

    The mark goes last: who is killed meanwhile leaves nothing that nobody knows the owner of.
    """
    try:
        names = [name for name in os.listdir(SHARED_MEMORY) if name.startswith(prefix)]
    except FileNotFoundError:
        return
    for name in sorted(names, key=lambda name: name.endswith(MARK)):
        try:
            os.unlink(os.path.join(SHARED_MEMORY, name))
        except (FileNotFoundError, PermissionError):
            continue


def remove_directories(directories: Sequence[str]) -> None:
    """Remove directories of ours with all that is in them; links are removed, not followed."""
    import shutil

    for directory in directories:
        if os.path.isdir(directory):
            shutil.rmtree(directory, ignore_errors=True)


def kill_group(group: int) -> None:
    """Kill all processes of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def children_of(parent: int) -> list[int]:
    """List the processes whose parent is ``parent``, those that ended and were not waited for included."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                # The program's name stands in parentheses and may hold any byte.
                fields = stat.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            found.append(int(name))
    return found


class Supervisor:
    """The server's process from its start to the end of all its descendants."""

    def __init__(self) -> None:
        self._prctl = ctypes.CDLL(None).prctl
        self.pid = 0
        self.status: int | None = None

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start the server in a session of its own, as the ancestor of all that it will start."""
        # Whatever the server's children leave behind becomes our child, and so is found and ended.
        self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        supervisor = os.getpid()
        # Or our own handler would swallow, in the child, what is sent before it is the server.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.pid = os.fork()
        if self.pid == 0:
            self._become_server(supervisor, command, environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        report(f"started {self.pid}")

    def _become_server(self, supervisor: int, command: list[str], environment: dict[str, str]) -> None:
        try:
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(CANNOT_RUN)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for each in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(2, 1)
            os.execve(command[0], command, environment)
        except (OSError, ValueError) as error:
            os.write(2, f"error: cannot run {command[0]}: {error}\n".encode())
        finally:
            os._exit(CANNOT_RUN)

    def reap(self) -> None:
        """Wait for every process that has ended; note and report the server's own status."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
                report(f"ended {self.status}")

    def ask_to_end(self) -> None:
        """Send SIGTERM to the server alone; it ends its stubs itself."""
        if self.status is None:
            os.kill(self.pid, signal.SIGTERM)

    def end_everything(self) -> None:
        """Kill the server's group and every descendant, and wait for them."""
        if self.pid:
            kill_group(self.pid)
        deadline = time.monotonic() + REAP_FOR
        while time.monotonic() < deadline:
            self.reap()
            alive = children_of(os.getpid())
            if not alive:
                return
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.005)


def report(line: str) -> None:
    """Tell the parent, if it still listens."""
    try:
        os.write(1, line.encode() + b"\n")
    except BrokenPipeError:
        return


class Parent:
    """Who asked for the server, what it says, and whether it is gone. SIGTERM to us is as good as its end."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.gone = False
        self._said = b""
        self._wakeup, alarm = os.pipe()
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._end)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(ignored, signal.SIG_IGN)

    def _end(self, number: int, frame: object) -> None:
        self.gone = True

    def listen(self, seconds: float) -> list[bytes]:
        """Wait for what it says, a signal, or so many seconds; return the lines that it has said."""
        ready, _, _ = select.select([0, self._wakeup], [], [], seconds)
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        if 0 in ready:
            said = os.read(0, 65536)
            self.gone = self.gone or not said
            self._said += said
        if self.pid is not None and os.getppid() != self.pid:
            self.gone = True
        *lines, self._said = self._said.split(b"\n")
        return lines


def supervise(supervisor: Supervisor, parent: Parent, orders: list[bytes]) -> None:
    """Do what the parent says, ``orders`` first, until the server has ended, has to end, or the parent is gone."""
    deadline: float | None = None
    while not parent.gone:
        for order in orders:
            if order.startswith(b"stop"):
                deadline = time.monotonic() + float(order.split()[1])
                if not supervisor.pid:
                    return
                supervisor.ask_to_end()
            else:
                supervisor.start(**json.loads(order))
        orders = parent.listen(POLL if deadline is None else min(POLL, max(0.0, deadline - time.monotonic())))
        supervisor.reap()
        if supervisor.status is not None or (deadline is not None and time.monotonic() >= deadline):
            return


def main() -> None:
    """Look after what the first line on standard input names."""
    parent = Parent()
    orders: list[bytes] = []
    while not orders:
        if parent.gone:
            sys.exit("the parent ended before it named a job")
        orders = parent.listen(POLL)
    job = json.loads(orders.pop(0))
    parent.pid = job["parent"]
    supervisor = Supervisor()
    try:
        supervise(supervisor, parent, orders)
    finally:
        supervisor.end_everything()
        remove_directories(job["directories"])
        remove_blocks(job["shm_prefix"])


if __name__ == "__main__":
    main()
