"""A model repository with performance tests beside the models, for real pytest sessions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from python_models import write_model

CONFTEST = """
import pytest
from pytest_triton import confirmation
from pytest_triton.blocks import Pace

confirmation.PACE = Pace(seconds=0.1, warmup=0.05, requests=4)

@pytest.fixture(scope="module")
def triton_server_args():
    return ["--disable-auto-complete-config"]
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _runs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests are no part of the job, nor of the workers, that they may be run in."""
    for name in os.environ:
        if name.startswith(("GITHUB_", "PYTEST_XDIST_")):
            monkeypatch.delenv(name)


@pytest.fixture
def repository(pytester: pytest.Pytester) -> Path:
    """A repository with the model ``identity``: FP32 X [-1] -> Y, batching."""
    pytester.makeini("[pytest]\n")
    folder = pytester.path / "models"
    write_model(folder, "identity", dims="[ 4 ]")
    return folder


@pytest.fixture
def run(pytester: pytest.Pytester, repository: Path) -> Run:
    """Run pytest, in a process of its own, on one test module beside the model ``identity``.

    The models of these tests leave nothing to complete, and without looking for it a load takes a second less. The
    end of a search measures in shorter blocks.
    """
    pytester.makeconftest(CONFTEST)

    def run(test: str, *arguments: str, folder: Path = repository / "identity") -> pytest.RunResult:
        (folder / f"test_{folder.name}.py").write_text("import pytest\n\n" + test)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)

    return run
