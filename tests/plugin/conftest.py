"""A model repository with performance tests beside the models, for real pytest sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from python_models import write_model

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def repository(pytester: pytest.Pytester) -> Path:
    """A repository with the model ``identity``: FP32 X [-1] -> Y, batching."""
    pytester.makeini("[pytest]\n")
    folder = pytester.path / "models"
    write_model(folder, "identity", dims="[ 4 ]")
    return folder


@pytest.fixture
def run(pytester: pytest.Pytester, repository: Path) -> Run:
    """Run pytest, in a process of its own, on one test module beside the model ``identity``."""

    def run(test: str, *arguments: str, folder: Path = repository / "identity") -> pytest.RunResult:
        (folder / f"test_{folder.name}.py").write_text("import pytest\n\n" + test)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)

    return run
