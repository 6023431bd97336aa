"""A container from its creation to its removal. It runs while its standard input is open, and that is ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_triton.errors import ServerError, ServerUnavailable
from pytest_triton.server.docker.engine import Engine, asking, explain
from pytest_triton.server.docker.groups import Groups, find_groups
from pytest_triton.server.docker.owners import own_label, remove

# The kernel closes our end of the input when this process is gone, whatever ended it; the engine then closes the
# container's, and the shell, which is its first process, takes all others with it.
GUARD = """
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
trap 'kill -TERM $server' TERM
{ while read -r line <&3; do :; done; kill -KILL $server; } &
exec 3<&-
while :; do
  wait $server
  status=$?
  kill -0 $server 2>/dev/null || exit $status
done
"""
NO_START = 125
"""The status of what did not start: that of ``docker run`` then."""
UNKNOWN = 255
GONE_WITHIN = 10.0
_POLL = 0.02
_PORT_TAKEN = ("port is already allocated", "address already in use")
_SIGNALLED = 128


class Container:
    """The container ``name``; what it writes goes to ``log``."""

    def __init__(self, engine: Engine, name: str, log: Path) -> None:
        self._engine = engine
        self._name = name
        self._log = log
        self._socket: Any = None
        self._threads: list[threading.Thread] = []
        self._status: int | None = None
        self._over = threading.Event()

    @property
    def name(self) -> str:
        """Its name, which is the server's."""
        return self._name

    @property
    def status(self) -> int | None:
        """How it ended (negative for a signal), None while it runs."""
        return self._status

    def create(self, image: str, command: Sequence[str], settings: Mapping[str, Any], *, guard: str = GUARD) -> None:
        """Create it, to be removed as soon as it ends. ``settings`` are for the SDK's ``containers.create``.

        Its first process is a shell that runs ``guard``, which ends with the input, and has ``command`` as arguments.

        Raises ``ServerUnavailable`` with what the engine cannot do of it.
        """
        with asking(self._engine, f"create a container of {image}", image=image):
            self._engine.client.containers.create(
                image,
                list(command),
                **{
                    **settings,
                    "name": self._name,
                    "entrypoint": ["sh", "-c", guard, "sh"],
                    "stdin_open": True,
                    "auto_remove": True,
                    "labels": {**settings.get("labels", {}), **own_label()},
                },
            )

    def put(self, folder: str, archive: Any) -> None:
        """Unpack an archive, bytes or an iterator of them, into ``folder``."""
        with asking(self._engine, "copy files into the container"):
            self._engine.client.api.put_archive(self._name, folder, archive)

    def start(self, image: str) -> None:
        """Start it, with its output on the way to the log. Raises ``ServerUnavailable``.

        A port that is taken is no error here: it has ended then, and its log says so.
        """
        from docker.errors import APIError

        api = self._engine.client.api
        with asking(self._engine, f"start a container of {image}", image=image):
            self._socket = api.attach_socket(self._name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._begin(self._copy_output)
            try:
                api.start(self._name)
            except APIError as error:
                said = str(error.explanation or error)
                if not any(sign in said for sign in _PORT_TAKEN):
                    raise explain(error, self._engine.purpose, f"start a container of {image}", image=image) from error
                self._write(f"error: {said}\n".encode())
                self._status = NO_START
                self._over.set()
                return
        self._begin(self._wait)

    def find_groups(self) -> Groups | None:
        """Return its control groups, if they can be seen from here and it still runs."""
        from docker.errors import NotFound

        with asking(self._engine, "look at a container"):
            try:
                found = self._engine.client.api.inspect_container(self._name)
            except NotFound:
                return None
        return find_groups(int(found["State"]["Pid"]), str(found["Id"]))

    def end(self, *, grace: float) -> None:
        """Ask it to end, kill it after ``grace`` seconds, and return when it is removed. May be called again."""
        if grace and self._status is None:
            with suppress(ServerError), asking(self._engine, "end a container"):
                self._engine.client.api.kill(self._name, "SIGTERM")
                self._over.wait(grace)
        try:
            remove(self._engine, self._name)
            self._wait_until_gone()
        except ServerError as error:
            # An engine that has ended ends its containers when it is started again, and this one is removed then.
            if isinstance(error, ServerUnavailable):
                raise
        # The engine closes its side. Closed by us, the socket would not wake the thread that waits for the output.
        for thread in self._threads:
            thread.join(GONE_WITHIN)
        if self._socket is not None:
            self._socket.close()

    def _wait_until_gone(self) -> None:
        from docker.errors import NotFound

        deadline = time.monotonic() + GONE_WITHIN
        with asking(self._engine, "look for a container"), suppress(NotFound):
            while time.monotonic() < deadline:
                self._engine.client.api.inspect_container(self._name)
                time.sleep(_POLL)

    def _begin(self, work: Any) -> None:
        thread = threading.Thread(target=work, name=f"{self._name}-{work.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _copy_output(self) -> None:
        """Copy frames of the output to the log until it ends."""
        from docker.utils.socket import frames_iter

        with suppress(OSError, ValueError), self._log.open("ab", buffering=0) as log:
            for _, piece in frames_iter(self._socket, tty=False):  # type: ignore[no-untyped-call]
                log.write(piece)

    def _wait(self) -> None:
        """Wait for the end, and for the last of the output; what ended and is removed already tells no status."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            # Without a bound: it runs for as long as it runs.
            answer = self._engine.client.api.wait(self._name, timeout=None)
            code = int(answer["StatusCode"])
        except (DockerException, RequestException, OSError) as error:
            code = UNKNOWN
            self._write(f"error: Docker no longer tells what became of the container: {error}\n".encode())
        self._threads[0].join(GONE_WITHIN)
        self._status = _SIGNALLED - code if _SIGNALLED < code < UNKNOWN else code
        self._over.set()

    def _write(self, text: bytes) -> None:
        with self._log.open("ab") as log:
            log.write(text)
