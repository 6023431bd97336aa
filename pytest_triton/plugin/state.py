"""What one pytest session knows: its server, its records, its troubles. Lives in ``config.stash``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_triton.errors import OptionError, PytestTritonError, ServerStartError
from pytest_triton.plugin import defaults, devices, options, outcomes, values
from pytest_triton.plugin.keys import STATE
from pytest_triton.plugin.progress import ProgressLine
from pytest_triton.results.place import Place
from pytest_triton.results.record import Record

if TYPE_CHECKING:
    from pytest_triton.bench import Bench
    from pytest_triton.plugin.resuming import Earlier
    from pytest_triton.results.store import Store
    from pytest_triton.server.base import Server

TROUBLES, NOTES = "triton_troubles", "triton_notes"
"""Where a worker of pytest-xdist leaves its troubles, and its notes, for the controller."""

_STARTS = 3
"""Starts that fail in a row before a server is given up."""
_LONG_WAIT = 5.0
"""Seconds of waiting for devices from which on the summary says so."""
_WAIT_FOR_OTHERS = 60.0
"""Seconds of an idle device without a new record after which a search's other candidates are given up, under xdist."""


@dataclass(slots=True)
class State:
    """The state of one session, or of one xdist worker's."""

    config: pytest.Config
    run: str
    worker: str
    progress: ProgressLine
    records: list[Record] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the summary says beside the results."""
    earlier: dict[str, Earlier] = field(default_factory=dict)
    """By search what the run before this one has left of it, once that was looked up."""
    began: float = field(default_factory=time.monotonic)
    crashes: int = 0
    """How often in a row the server has died under a test."""
    served: dict[str, str] = field(default_factory=dict)
    """By model a digest of what a server that is not ours had of it."""
    waited: float = 0.0
    """Seconds that devices were waited for."""
    fixed: bool = False
    """Whether the server has said that it loads nothing for us."""
    _server: Server | None = None
    _bench: Bench | None = None
    _served: tuple[Path | None, tuple[str, ...]] = (None, ())
    _failed: dict[tuple[Path | None, tuple[str, ...]], int] = field(default_factory=dict)
    """How often in a row no server has started, by what it was to serve."""
    _logs: bool = False
    """Whether what the run before this one has left of its servers' log is gone."""
    _triton: str = ""
    """The running server's version, as it says itself."""
    _spared: bool = False
    """Whether the store has failed, so that records go elsewhere."""

    @property
    def output(self) -> Path:
        """The folder for records, logs and winners."""
        folder = options.folder(self.config, "output")
        assert folder is not None
        return folder

    @property
    def workers(self) -> int:
        """How many workers of pytest-xdist share the run; 1 without it."""
        return int(getattr(self.config, "workerinput", {}).get("workercount", 1))

    @property
    def store(self) -> Store:
        """Where records are kept. SQLAlchemy is loaded here, and not before there is a record."""
        from pytest_triton.results.store import Store

        return Store(values.store(self.config))

    @property
    def spare(self) -> Store:
        """A file of this run's own in the output folder, which takes the records that the store does not take."""
        from pytest_triton.results.store import Store

        return Store(Place(path=self.output / f"unsaved-{self.run[:8]}.db"))

    def prepare_output(self) -> Path:
        """Make the folder that this process writes its logs to. Raises ``OptionError`` when it cannot be written."""
        folder = self.output / self.worker if self.worker else self.output
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".writable-{self.run}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
            ignore = self.output / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise OptionError(
                f"cannot write to the output folder {folder}: {error.strerror}",
                hint="Name a folder that can be written with --triton-output, or free some space.",
            ) from error
        return folder

    def server(self, repository: Path | None, arguments: Sequence[str]) -> Server:
        """Return a running server for ``repository``, starting one where there is none.

        One server runs at a time: another repository or other arguments end the one before.
        """
        wanted = (repository, tuple(arguments))
        if self._server is not None and self._served == wanted:
            try:
                self._server.check()
                return self._server
            except PytestTritonError:
                self.stop()
        self.stop()
        output = self._begin_log()
        if self._failed.get(wanted, 0) >= _STARTS:
            raise ServerStartError(
                f"Triton has failed to start {_STARTS} times in a row, and is not tried again",
                hint="The first of the errors says why.",
            )
        server: Server = self.config.hook.pytest_triton_make_server(
            config=self.config, repository=repository, arguments=list(arguments), output=output
        )
        self.progress.say("starting Triton")
        try:
            server.start()
        except BaseException as error:
            server.stop()
            if isinstance(error, ServerStartError):
                self._failed[wanted] = self._failed.get(wanted, 0) + 1
            raise
        finally:
            self.progress.clear()
        self._server, self._served = server, wanted
        self._failed.pop(wanted, None)
        self._triton = _version(server)
        return server

    def _begin_log(self) -> Path:
        """Return the folder for the servers' log, which holds the servers of this run only."""
        from pytest_triton.server.log import NAME

        folder = self.prepare_output()
        if not self._logs:
            (folder / NAME).unlink(missing_ok=True)
            self._logs = True
        return folder

    def bench(self, repository: Path | None, arguments: Sequence[str]) -> Bench:
        """Return a bench around the running server for ``repository``. Its imports would slow down a server's start."""
        server = self.server(repository, arguments)
        if self._bench is None:
            from pytest_triton.bench import Bench

            self._bench = Bench(server, self.config.hook.pytest_triton_make_engine(config=self.config))
        return self._bench

    def stop(self) -> None:
        """End the server, if one runs."""
        server, bench, self._server, self._bench = self._server, self._bench, None, None
        # What one worker leaves, the others may still measure.
        if bench is not None and self.workers == 1:
            bench.deployer.leave()
        if server is not None:
            server.stop()

    def keep(self, item: pytest.Item, record: Record) -> None:
        """Keep a record: in memory, on the test's report, and at once in the store."""
        record = replace(record, **self.circumstances(item, record.model))
        outcomes.mark(item, record)
        self._remember(record)

    def take_over(self, item: pytest.Item, records: Iterable[Record], *, run_by: bool) -> None:
        """Keep what an earlier run has recorded as it is; ``run_by`` this test, or used by it only."""
        for record in records:
            copy = replace(record, run=self.run, reused=record.reused or record.run)
            if run_by:
                copy = replace(copy, id=item.nodeid)
                outcomes.mark(item, copy)
            else:
                outcomes.carry(item, copy)
            self._remember(copy)

    def _remember(self, record: Record) -> None:
        self.records.append(record)
        try:
            self._write(record)
        except PytestTritonError as error:
            self.troubled(str(error))

    def circumstances(self, item: pytest.Item, model: str) -> dict[str, Any]:
        """Return where and on what ``item`` measures, as far as it can be known."""
        from pytest_triton.results.digests import digest_model
        from pytest_triton.results.fingerprint import machine
        from pytest_triton.results.revision import revision

        server = self._server.description if self._server is not None else ""
        engine = self._bench.engine.name if self._bench is not None else ""
        repository, _ = self._served
        gpus = devices.chosen(self.config).gpus if server else ()
        known = {
            "server": server,
            "triton": self._triton if server else "",
            "engine": engine,
            "gpus": [str(gpu) for gpu in gpus],
        }
        return {
            "server": server,
            "engine": engine,
            "fingerprint": {**machine(), **{name: value for name, value in known.items() if value}},
            "revision": revision(item.path.parent),
            "model_files": digest_model(repository / model) if repository is not None else "",
        }

    def _write(self, record: Record) -> None:
        """Write a record to the store, or where that has failed to the spare one."""
        if not self._spared:
            try:
                self.store.append(record)
                return
            except PytestTritonError as error:
                self._give_up_store(error)
        self.spare.append(record)

    def _give_up_store(self, error: PytestTritonError) -> None:
        """Use the store no more in this run: each try could take as long to fail as the first."""
        self._spared = True
        place = self.spare.place
        self.troubled(
            f"{error}\n  The records that it did not take are in {place}; see them with\n"
            f"  pytest-triton history MODEL --store {place}"
        )

    def gather(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take over what a worker of pytest-xdist has recorded, and kept, already."""
        self.records.extend(Record.from_dict(values) for values in records)

    def troubled(self, message: str) -> None:
        """Remember a trouble that harms no measurement: it is told at the end and the run exits non-zero."""
        if message not in self.troubles:
            self.troubles.append(message)

    def noted(self, message: str) -> None:
        """Have the summary say something that is no trouble, once."""
        if message not in self.notes:
            self.notes.append(message)

    def so_far(self, search: str) -> list[Record]:
        """Return the records of a search's candidates in this run, in the order they were made; xdist's workers share.

        Of one whose turn came twice it is the later one.
        """
        records = self._read(search) if self.worker else self.records
        return list({r.turn: r for r in records if r.search == search and r.turn}.values())

    def searched(self, search: str) -> float:
        """Return how many seconds ago this run began with a search, 0.0 when it has not."""
        began = [record.began for record in self.so_far(search) if not record.reused]
        return time.time() - min(began) if began else 0.0

    def search_records(self, search: str, turns: Sequence[str]) -> list[Record]:
        """Return the records of a search's ``turns``; under xdist wait for those that other workers measure."""
        last, known = time.monotonic(), 0
        while True:
            found = {record.turn: record for record in self.so_far(search)}
            missing = [turn for turn in turns if turn not in found]
            if not self.worker or not missing:
                return [found[turn] for turn in turns if turn in found]
            if len(found) > known or devices.busy(self.config):
                last, known = time.monotonic(), len(found)
            elif time.monotonic() - last > _WAIT_FOR_OTHERS:
                # The worker that should have measured them has crashed, or their tests have failed before.
                self.noted(f"not measured by any worker, and left out of the search: {', '.join(missing)}")
                return [found[turn] for turn in turns if turn in found]
            time.sleep(0.2)

    def before(self, search: str) -> list[Record]:
        """Return the records of a search in the newest run before this one. Where the store fails there are none."""
        try:
            return self.store.newest(search, before=self.run) if not self._spared else []
        except PytestTritonError:
            # Writing to it will fail, too, and says so.
            return []

    def _read(self, search: str) -> list[Record]:
        """Read what all workers have recorded of a search. One of them may have found the store failing, or all."""
        kept = self.spare.read(self.run, search=search)
        if not self._spared:
            try:
                kept += self.store.read(self.run, search=search)
            except PytestTritonError as error:
                self._give_up_store(error)
        return kept


def _version(server: Server) -> str:
    try:
        return str(server.control.server_metadata().get("version", ""))
    except PytestTritonError:
        return ""


def of(config: pytest.Config) -> State:
    """Return the session's state, set up on first use."""
    if STATE not in config.stash:
        worker = getattr(config, "workerinput", None)
        run = worker["testrunuid"] if worker else uuid.uuid4().hex
        config.stash[STATE] = State(config, run, worker["workerid"] if worker else "", ProgressLine(config))
        config.pluginmanager.register(defaults, "triton-defaults")
    return config.stash[STATE]


def finish(session: pytest.Session) -> None:
    """End the server and write what the run found, before the terminal's summary."""
    state = of(session.config)
    state.progress.close()
    state.stop()
    if state.worker:
        session.config.workeroutput.update({TROUBLES: state.troubles, NOTES: state.notes})  # type: ignore[attr-defined]
        return
    if state.waited > _LONG_WAIT:
        state.noted(f"waited {state.waited:.0f} s for devices that other runs measured on")
    path = options.folder(session.config, "json")
    if path is not None:
        from pytest_triton.report.json import write
        from pytest_triton.results.fingerprint import fingerprint

        try:
            write(path, state.records, fingerprint(session.config.rootpath))
        except PytestTritonError as error:
            state.troubled(str(error))
    if state.troubles and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
