"""``pytest-triton search`` from a terminal: the same search as a test's, with the same table and exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from python_models import write_model

import pytest_triton

ROOT = Path(pytest_triton.__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a repository ``models``, and settings and a conftest.py that a run of its own tests needs."""
    write_model(tmp_path / "models", "sleeper", execute="import time; time.sleep(0.02)", dims="[ 1 ]")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -k nothing --strict-markers\ntriton_output = kept\n")
    (tmp_path / "conftest.py").write_text("raise ImportError('not for others')\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as from a shell, whatever job or worker this test runs in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-c", "import sys; from pytest_triton.command import main; sys.exit(main())", *arguments],
        check=False,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_search_ends_in_the_table_and_the_winner(project):
    command = ["search", "models", "sleeper", "--axis", "instance_count=1,2", "--concurrency", "2"]
    done = run(project, *command, "--", "-v", "--triton-smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "triton search" in done.stdout
    assert "test_best_configuration[best] PASSED" in done.stdout
    assert "In 2 of 2 candidates measured in" in done.stdout
    assert (project / "kept" / "best" / "sleeper" / "config.pbtxt").exists()
    assert (project / "kept" / "results.db").exists()
    assert not (project / "models" / "sleeper" / "test_sleeper.py").exists()
    assert not (project / ".pytest_cache").exists()
    assert not (project / ".triton").exists()


def test_without_a_winner_the_exit_status_is_1(project):
    done = run(project, "search", "models", "sleeper", "--axis", "backend=nowhere")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no configuration can win" in done.stdout


def test_what_only_the_marker_knows_is_wrong_is_said_without_a_traceback(project):
    done = run(project, "search", "models", "sleeper", "--axis", "rate=fast")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "rate='fast'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
