"""The interpreter that models run in may be another than pytest's; what it lacks is named."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from python_models import write_model

from pytest_triton.errors import ServerUnavailable
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.embedded.installation import find_installation


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A virtual environment with nothing installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return tmp_path / "bare"


def packages_of(environment: Path) -> Path:
    """Return the folder that a virtual environment's packages lie in."""
    return next((environment / "lib").glob("python*/site-packages"))


def borrow_packages(environment: Path) -> None:
    """Let a virtual environment see the packages that we have."""
    (packages_of(environment) / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


def test_models_run_in_the_interpreter_that_was_named(bare: Path, tmp_path: Path, python_models: Path, send):
    borrow_packages(bare)
    server = EmbeddedServer(python_models, output=tmp_path, python=str(bare / "bin" / "python"))
    server.start()
    try:
        server.control.load("identity")
        assert send(server.control, "identity").tolist() == [[1, 2, 3]]
        assert server.installation is not None
        assert server.installation.interpreter.path == bare / "bin" / "python"
    finally:
        server.stop()


def test_models_see_pythonpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, send):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "private_library.py").write_text("answer = 42\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    write_model(tmp_path / "repository", "importing", initialize="import private_library")
    find_installation.cache_clear()
    server = EmbeddedServer(tmp_path / "repository", output=tmp_path)
    try:
        server.start()
        server.control.load("importing")
        assert send(server.control, "importing").tolist() == [[1, 2, 3]]
    finally:
        server.stop()
        find_installation.cache_clear()


def test_interpreter_without_pytriton_is_refused(bare: Path):
    with pytest.raises(ServerUnavailable, match="no nvidia-pytriton") as caught:
        find_installation(str(bare / "bin" / "python"))
    assert 'pip install "pytest-triton[embedded]"' in caught.value.hint


def test_interpreter_with_numpy_2_is_refused(bare: Path):
    metadata = packages_of(bare) / "numpy-2.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    borrow_packages(bare)
    with pytest.raises(ServerUnavailable, match=r"NumPy 2\.1\.0.*empty tensors") as caught:
        find_installation(str(bare / "bin" / "python"))
    assert "numpy<2" in caught.value.hint
    assert "triton_embedded_python" in caught.value.hint


def test_what_is_no_interpreter_is_refused(tmp_path: Path):
    with pytest.raises(ServerUnavailable, match="there is no interpreter"):
        find_installation(str(tmp_path / "python"))
    with pytest.raises(ServerUnavailable, match="is not a Python interpreter"):
        find_installation("/bin/true")
    with pytest.raises(ServerUnavailable, match="does not run"):
        find_installation("/bin/false")
