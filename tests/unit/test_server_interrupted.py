"""Ctrl-C at any moment of a server's start or end: nothing of it is left."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psutil
import pytest

from pytest_triton.server import LocalServer, ModelControl, own
from pytest_triton.server.own import OwnServer
from pytest_triton.server.process import ChildServer
from pytest_triton.server.supervised import SupervisedProcess

Place = tuple[CodeType, int]
MakeServer = Callable[[], LocalServer]
START = (
    OwnServer._start,
    OwnServer._try_start,
    ChildServer._settle,
    ChildServer._run,
    SupervisedProcess.__init__,
    SupervisedProcess.run,
)
END = (OwnServer.stop, ChildServer._clear, SupervisedProcess.end)


@contextmanager
def at_each_line(functions: tuple[Callable[..., Any], ...], act: Callable[[Place], None]) -> Iterator[None]:
    """Call ``act`` before each line of ``functions`` that is executed."""
    codes = {function.__code__ for function in functions}

    def trace_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            act((frame.f_code, frame.f_lineno))
        return trace_line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: trace_line if frame.f_code in codes else None)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.fixture
def make_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeServer:
    """Make servers that count as ready as soon as they run; temporary files lie in ``tmp``."""
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    (tmp_path / "models").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(own, "wait_until_ready", lambda *arguments, **options: None)
    monkeypatch.setattr(ModelControl, "server_metadata", lambda control: {})
    return lambda: LocalServer(tmp_path / "models", output=tmp_path / "out", program=str(program))


def places_in(functions: tuple[Callable[..., Any], ...], run: Callable[[], None]) -> list[Place]:
    """List the lines of ``functions`` that ``run`` executes."""
    places: dict[Place, None] = {}
    with at_each_line(functions, places.setdefault):
        run()
    return list(places)


def interrupt(functions: tuple[Callable[..., Any], ...], place: Place, run: Callable[[], None]) -> None:
    """Let Ctrl-C come when ``run`` comes to ``place`` for the first time."""
    waiting = [place]

    def act(here: Place) -> None:
        if here in waiting:
            waiting.clear()
            raise KeyboardInterrupt

    with at_each_line(functions, act), pytest.raises(KeyboardInterrupt):
        run()


@pytest.fixture
def assert_nothing_left(tmp_path: Path) -> Callable[[Place], None]:
    """Look for processes that were not there before the test, and for temporary files."""
    before = psutil.Process().children(recursive=True)

    def look(place: Place) -> None:
        where = f"interrupted in {place[0].co_qualname}, line {place[1]}"
        assert list((tmp_path / "tmp").iterdir()) == [], where
        for mark in Path("/dev/shm").glob("pytest-triton-*.owner"):
            with suppress(FileNotFoundError):
                assert str(tmp_path) not in mark.read_text(), where
        deadline = time.monotonic() + 5
        while (left := set(psutil.Process().children(recursive=True)) - set(before)) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert left == set(), where

    return look


def test_an_interrupted_start_leaves_nothing(make_server: MakeServer, assert_nothing_left: Callable[[Place], None]):
    server = make_server()
    places = places_in(START, server.start)
    server.stop()
    assert len(places) > 30
    for place in places:
        interrupt(START, place, make_server().start)
        assert_nothing_left(place)


def test_an_interrupted_end_can_be_done_again(make_server: MakeServer, assert_nothing_left: Callable[[Place], None]):
    server = make_server()
    server.start()
    places = places_in(END, server.stop)
    assert len(places) > 15
    for place in places:
        server = make_server()
        server.start()
        interrupt(END, place, server.stop)
        server.stop()
        assert_nothing_left(place)
