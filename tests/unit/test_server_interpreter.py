"""What keeps Python models from leaving compiled code beside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_triton.server.interpreter import without_bytecode

OURS = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
ISOLATED = "PyConfig_InitIsolatedConfig"


@pytest.mark.parametrize(
    ("stub", "seen"),
    [
        (f"{OURS} {ISOLATED}", True),
        (f"{OURS} PyConfig_InitPythonConfig", False),
        (f"libpython3.5.so.1.0 {ISOLATED}", False),
        (None, False),
    ],
    ids=["isolated", "heeding", "another-version", "unknown"],
)
def test_only_an_isolated_interpreter_gets_another_python(stub: str | None, seen: bool, tmp_path: Path) -> None:
    if stub is not None:
        (tmp_path / "stub").write_text(f"\0{stub}\0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    before = {"PATH": f"{tmp_path}/bin"}
    after = without_bytecode(before, tmp_path / "stub", tmp_path / "view", keep_clean=[Path("/models")])
    assert after["PATH"].split(os.pathsep) == [f"{tmp_path}/view/bin"] * seen + [f"{tmp_path}/bin"]
    assert (tmp_path / "view").exists() == seen
    assert after["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("program", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho '[]'\n"])
def test_a_python3_that_is_none_is_left_alone(program: str | None, tmp_path: Path) -> None:
    (tmp_path / "stub").write_text(f"{OURS} {ISOLATED}")
    if program is not None:
        (tmp_path / "python3").write_text(program)
        (tmp_path / "python3").chmod(0o755)
    before = {"PATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    assert without_bytecode(before, tmp_path / "stub", tmp_path / "view", keep_clean=[]) == before
