"""A running embedded server on a few small models, and scripts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from python_models import write_model
from serving import serve

from pytest_triton.server import EmbeddedServer, ModelControl

Infer = Callable[[ModelControl, str], "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


@pytest.fixture(scope="session")
def python_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: ``identity`` (FP32, batching), ``raising`` and ``dying`` (in ``execute``), ``corrupt``."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "identity")
    write_model(repository, "raising", execute='raise ValueError("the model is out of order")')
    write_model(repository, "dying", execute="import os; os._exit(3)")
    write_model(repository, "corrupt", configuration='backend: "python"\ninput [ {{ name: 7 }} ]\n')
    return repository


@pytest.fixture(scope="session")
def embedded_server(python_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running embedded server on ``python_models``; no model is loaded but ``identity``."""
    with serve(python_models, tmp_path_factory.mktemp("embedded"), "identity") as server:
        yield server


@pytest.fixture
def send() -> Infer:
    """Send ``[[1, 2, 3]]`` to a model made by ``write_model`` and return what came back."""

    def send_one(control: ModelControl, model: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        values = np.array([[1, 2, 3]], dtype=np.float32)
        answer = control.infer(model, {"X": values}, {"X": "FP32"})["Y"]
        return answer.astype(np.float32)

    return send_one


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python script in a process of its own (and a session of its own), ended with the test at the latest."""
    started = []

    def run(text: str, *arguments: str) -> subprocess.Popen[str]:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(text))
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
