"""The line that says what is going on, on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

from python_models import write_model

TEST = """
from pytest_triton import Effort

def test_it(triton_perf, monkeypatch):
    monkeypatch.setattr("pytest_triton.plugin.perf.Effort", lambda **limit: Effort(seconds=1.5))
    triton_perf()
"""


def run_on_a_terminal(folder, *arguments: str) -> str:
    """Run pytest with a terminal of its own, 100 columns wide; return all that it wrote there."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side has closed.
            piece = b""
        if not piece:
            break
        written += piece
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode()


def test_a_terminal_shows_how_far_it_is_and_quiet_means_quiet(tmp_path):
    write_model(tmp_path / "models", "identity", dims="[ 2 ]")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "models" / "identity" / "test_identity.py").write_text(TEST)
    written = run_on_a_terminal(tmp_path)
    assert "starting Triton" in written
    assert "test_it: warming up, " in written
    assert "test_it: measuring, " in written
    assert " s of at most 70 s, " in written
    assert "1 passed" in written
    lines = written.split("\x1b[K")[1:]
    assert all(len(line.partition("\x1b8")[0]) < 100 for line in lines)
    assert "measuring" not in run_on_a_terminal(tmp_path, "-q")
