"""Perf Analyzer in a container of NVIDIA's SDK image, for the load engine of that name."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from pytest_triton.errors import EngineError, ServerError
from pytest_triton.load.perf_analyzer_program import EXPORT, EXPORTING, GRACE, NAME, Run, judge, late
from pytest_triton.server.docker.container import Container
from pytest_triton.server.docker.engine import SERVER, Engine, Purpose, asking, connect
from pytest_triton.server.docker.execution import Execution
from pytest_triton.server.docker.image import find_image
from pytest_triton.server.docker.network import choose_network
from pytest_triton.server.docker.owners import remove_abandoned

SDK = f"{SERVER.example}-sdk"
PURPOSE = Purpose(
    content="Perf Analyzer",
    option="--triton-perf-analyzer=docker:",
    example=SDK,
    arguments="Its container gets this machine's network and shared memory.",
    instead="Or name a binary: --triton-perf-analyzer=PATH; or choose --triton-engine=wire.",
)
_FOLDER = "pytest-triton"
_EVERYWHERE = "0.0.0.0"
_NOT_FOUND = 127
_START_WITHIN = 60.0
# Times are those of the shell's own children, which is Perf Analyzer alone.
_RUN = f"""
cd /{_FOLDER} && rm -f pid {EXPORT}
sh -c 'echo $$ >pid; exec {NAME} "$@"' sh "$@"
status=$?
times
exit $status
"""
# When this process is gone, the input ends: Perf Analyzer is told to end, to remove what it has put into shared memory.
_GUARD = f"""
while read -r line; do :; done
for urge in 1 2; do
  read -r pid 2>/dev/null </{_FOLDER}/pid && kill -INT "$pid" 2>/dev/null || exit
  for wait in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.2
    kill -0 "$pid" 2>/dev/null || exit
  done
done
"""
_SIGNAL = f'read -r pid </{_FOLDER}/pid && kill -"$1" "$pid"'
_TIMES = re.compile(r"(?:\d+m[\d.]+s \d+m[\d.]+s\s+)(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*$")


class ContainerProgram:
    """Perf Analyzer of an image, in a container of its own, which runs from one run to the next.

    Files are copied in and out: the engine need not see ours.
    """

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine = engine
        self._container = container
        self._folder: Path | None = None

    @classmethod
    def find(cls, image: str = "", tell: Callable[[str], None] = lambda text: None) -> Self:
        """Start a container of ``image``, or of the official SDK image, and try whether Perf Analyzer starts in it.

        ``tell`` hears how far a pull is. Raises ``EngineError``.
        """
        image = image or SDK
        with _as_engine_error(), ExitStack() as resources:
            engine = connect(PURPOSE)
            resources.callback(engine.close)
            remove_abandoned(engine)
            network = choose_network(engine, bind=_EVERYWHERE)
            if network.published:
                raise EngineError(
                    f"containers of the Docker engine at {engine.address} have no part in this machine's network, "
                    "over which Perf Analyzer would reach the server",
                    hint=PURPOSE.instead,
                )
            find_image(engine, image, tell)
            container = Container(engine, f"pytest-triton-{secrets.token_hex(5)}", Path(os.devnull))
            resources.callback(container.end, grace=0)
            settings = {
                "network_mode": network.mode,
                "ipc_mode": "host",
                "userns_mode": "host",
                # What it shares with the server belongs to who has started that.
                "user": f"{os.getuid()}:{os.getgid()}",
            }
            container.create(image, [], settings, guard=_GUARD)
            container.start(image)
            _check_program(engine, container, image)
            resources.pop_all()
        return cls(engine, container)

    def run(self, words: Sequence[str], *, folder: Path, timeout: float) -> Run:
        """Run it to its end; ``folder`` is copied before the first run."""
        with _as_engine_error():
            if folder != self._folder:
                self._put(folder)
                self._folder = folder
            running = Execution(self._engine, self._container.name, ["sh", "-c", _RUN, "sh", *words, *EXPORTING])
            try:
                ended = running.wait(timeout)
            except BaseException:
                self._end(running)
                raise
            if not ended:
                self._end(running)
                raise late(timeout)
            output, cpu_seconds = _read_times(running.output)
            ran = judge(running.find_status(), output, cpu_seconds)
            if not ran.empty:
                self._fetch(folder)
            return ran

    def close(self) -> None:
        """End the container and remove it."""
        try:
            with _as_engine_error():
                self._container.end(grace=0)
        finally:
            self._engine.close()

    def _put(self, folder: Path) -> None:
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                archive.add(folder, _FOLDER)
            file.seek(0)
            self._container.put("/", file)

    def _fetch(self, folder: Path) -> None:
        """Copy the export out of the container, if there is one."""
        from docker.errors import NotFound

        with asking(self._engine, "copy a file out of the container"), tempfile.TemporaryFile() as file:
            try:
                pieces, _ = self._engine.client.api.get_archive(self._container.name, f"/{_FOLDER}/{EXPORT}")
            except NotFound:
                return
            file.writelines(pieces)
            file.seek(0)
            with tarfile.open(fileobj=file) as archive, (folder / EXPORT).open("wb") as export:
                content = archive.extractfile(EXPORT)
                assert content is not None
                shutil.copyfileobj(content, export)

    def _end(self, running: Execution) -> None:
        """End it as the binary is ended, at best so that it removes what it has put into shared memory."""
        for urge in ("INT", "INT", "KILL"):
            with suppress(ServerError):
                Execution(self._engine, self._container.name, ["sh", "-c", _SIGNAL, "sh", urge]).wait(GRACE)
                if running.wait(GRACE):
                    return


def _check_program(engine: Engine, container: Container, image: str) -> None:
    """Try whether Perf Analyzer starts. Raises ``EngineError``, or ``ServerError`` for what the engine cannot do."""
    trial = Execution(engine, container.name, ["sh", "-c", f"exec {NAME} --version"])
    ended = trial.wait(_START_WITHIN)
    status = trial.find_status() if ended else None
    if status == 0:
        return
    lines = trial.output.splitlines()[:5]
    if status == _NOT_FOUND and any(f"{NAME}: " in line and "not found" in line for line in lines):
        raise EngineError(
            f"the image {image} has no {NAME} on its PATH",
            hint=f"Name an SDK image of Triton's, as in {PURPOSE.option}{SDK}.",
        )
    raise EngineError(f"Perf Analyzer of the image {image} does not start", details=lines)


def _read_times(output: str) -> tuple[str, float]:
    """Part the output from the CPU seconds that the shell tells at its end."""
    match = _TIMES.search(output)
    if match is None:
        return output, 0.0
    minutes, seconds = (int(match[1]) + int(match[3])) * 60, float(match[2]) + float(match[4])
    return output[: match.start()], minutes + seconds


@contextmanager
def _as_engine_error() -> Iterator[None]:
    """Turn what the Docker engine cannot do into an error of the load engine: the server has no part in it."""
    try:
        yield
    except ServerError as error:
        raise EngineError(error.problem, details=error.details, hint=error.hint) from error
