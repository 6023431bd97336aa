"""The line that says what is going on, on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pyte
import pytest
from python_models import write_model

LINES, COLUMNS = 24, 100
TEST = """
import pytest
from pytest_triton import Effort

@pytest.fixture(autouse=True)
def longer(monkeypatch):
    monkeypatch.setattr("pytest_triton.plugin.perf.Effort", lambda **limit: Effort(seconds=1.5))

@pytest.mark.triton_slo(p90="10s", throughput="1/s")
def test_it(triton_perf):
    print("from the test")
    triton_perf()

def test_client(triton_client):
    assert triton_client.is_server_ready()
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a model and its test."""
    write_model(tmp_path / "models", "identity", dims="[ 2 ]")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "models" / "identity" / "test_identity.py").write_text(TEST)
    return tmp_path


def run_on_a_terminal(
    folder, *arguments: str, interrupt_at: str = "", columns: int = COLUMNS, **environment: str
) -> tuple[str, int]:
    """Run pytest with a terminal of its own; return all that it wrote there, and its exit status.

    Ctrl-C is pressed once ``interrupt_at`` was written.
    """
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(command[0], command, {**os.environ, "TERM": "xterm", **environment})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side has closed.
            piece = b""
        if not piece:
            break
        written += piece
        if interrupt_at and interrupt_at in written.decode(errors="replace"):
            os.write(terminal, b"\x03")
            interrupt_at = ""
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return written.decode(), os.waitstatus_to_exitcode(status)


def look(written: str) -> list[str]:
    """The lines that a person sees, those scrolled away included."""
    screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000)
    pyte.Stream(screen).feed(written)
    above = ["".join(line[column].data for column in range(COLUMNS)) for line in screen.history.top]
    return [line.rstrip() for line in (*above, *screen.display)]


def progress(written: str) -> list[str]:
    """What the line said, one after the other."""
    return [piece.partition("\x1b8")[0] for piece in written.split("\x1b[K")[1:]]


def test_a_terminal_shows_how_far_it_is_and_then_nothing_of_it(folder):
    written, status = run_on_a_terminal(folder)
    assert status == 0
    said = [line for line in progress(written) if line]
    assert all(len(line) < COLUMNS for line in said)
    assert said[0] == "test_it: starting Triton"
    assert any(line.startswith("test_it: warming up, ") for line in said)
    measuring = [line for line in said if line.startswith("test_it: measuring, ")]
    assert re.fullmatch(
        r"test_it: measuring, \d+ s of at most 70 s, [\d.,]+/s, p90 [\d.]+ [mun]?s \(<= 10.0 s\), .*", measuring[-1]
    )
    seen = look(written)
    assert any("test_identity.py ..   " in line for line in seen)
    assert any("2 passed" in line for line in seen)
    assert not [line for line in seen if any(word in line for word in ("measuring", "warming", "starting"))]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["-q"], {}), ([], {"TERM": "dumb"}), (["-n1"], {})],
    ids=["quiet", "a terminal that knows no commands", "workers"],
)
def test_quiet_means_quiet(folder, arguments, environment):
    written, status = run_on_a_terminal(folder, *arguments, "--triton-smoke", **environment)
    assert status == 0
    assert "starting Triton" not in written
    assert "\x1b7" not in written


def test_nothing_of_it_is_captured_or_goes_into_a_file(folder):
    failing = TEST.replace("10s", "1us").replace("p90", "max")
    (folder / "models" / "identity" / "test_identity.py").write_text(failing)
    written, status = run_on_a_terminal(folder, "-k", "test_it", "--junitxml=junit.xml", "-o", "junit_logging=all")
    assert status == 1
    shown = look(written)
    captured = shown[next(i for i, line in enumerate(shown) if "Captured stdout call" in line) + 1 :]
    assert captured[0] == "from the test"
    assert not [line for line in shown if "measuring" in line]
    assert "measuring" not in (folder / "junit.xml").read_text()


def test_a_search_says_what_leads_and_what_is_left(folder):
    (folder / "models" / "identity" / "test_identity.py").write_text(
        """
import pytest

@pytest.mark.triton_search({"instance_group.count": [2, 3]})
@pytest.mark.triton_load(concurrency=1)
def test_it(triton_perf):
    triton_perf()
"""
    )
    written, status = run_on_a_terminal(folder, "--triton-smoke")
    assert status == 0
    said = [line for line in progress(written) if line]
    assert any(line.startswith("test_it[i2], 2 of 2 left: ") for line in said)
    assert any(re.match(r"test_it\[i3\], leads: i2 [\d.,]+/s, 1 of 2 left, about \d+ s: ", line) for line in said)
    finalists = re.compile(r"test_it\[best\], leads: i[23] [\d.,]+/s: finalists against the default")
    assert any(finalists.match(line) for line in said)


def test_ctrl_c_leaves_a_clean_screen(folder):
    written, status = run_on_a_terminal(folder, interrupt_at="measuring, ")
    assert status == pytest.ExitCode.INTERRUPTED
    assert progress(written)[-1] == ""
    seen = look(written)
    assert any("KeyboardInterrupt" in line for line in seen)
    assert not [line for line in seen if line.startswith("test_it: ")]


def test_a_narrow_terminal_and_one_without_a_size(folder):
    for columns in (20, 0):
        written, status = run_on_a_terminal(folder, "--triton-smoke", columns=columns)
        assert status == 0
        said = [line for line in progress(written) if line]
        assert said
        assert all(len(line) < (columns or 80) for line in said)
