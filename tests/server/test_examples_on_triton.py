"""The examples' functional tests pass on a real Triton, from a checkout with no model in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "functional_test"),
    [("alexnet", "test_verify_inference"), ("magika", "test_knows_source_code")],
)
def test_the_functional_test_passes(tmp_path: Path, example: str, functional_test: str) -> None:
    folder = tmp_path / example
    shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("1", "__pycache__", ".triton"))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --strict-config\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", example, "-k", functional_test],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / example / "1" / "model.onnx").is_file()
