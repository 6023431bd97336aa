"""What is taken for granted of Python code that is not run: nothing, where it may come from elsewhere."""

from pathlib import Path

import pytest

from pytest_triton.repository.python_code import may_define

PLAIN = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"


@pytest.mark.parametrize(
    ("code", "may"),
    [
        (PLAIN, False),
        (PLAIN.replace(":", "(object):", 1), False),
        (PLAIN + "    def finalize(self):\n        pass\n", True),
        ("from elsewhere import TritonPythonModel\n", True),
        ("from elsewhere import Base\n\n" + PLAIN.replace(":", "(Base):", 1), True),
    ],
)
def test_a_method_of_a_python_model(tmp_path: Path, code: str, may: bool) -> None:
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "model.py").write_text(code)
    assert may_define(tmp_path, "finalize") is may


def test_other_code_of_a_model_counts_and_no_code_has_nothing(tmp_path: Path) -> None:
    assert not may_define(tmp_path, "finalize")
    (tmp_path / "model.py").write_text(PLAIN)
    (tmp_path / "helpers.py").write_text("def finalize():\n    pass\n")
    assert may_define(tmp_path, "finalize")
