"""Takes the network out of the installed magika package and puts it into the model repository."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

MODEL = Path(__file__).parent / "magika" / "1" / "model.onnx"


@pytest.fixture(scope="session", autouse=True)
def magika_settings() -> dict[str, Any]:
    """How magika makes features of bytes, and the labels that the network's outputs stand for."""
    try:
        # The folder magika beside this file is a model, so the package is not looked for by import.
        package = Path(str(distribution("magika").locate_file("magika")))
    except PackageNotFoundError:
        pytest.skip("the network comes with the magika package: pip install 'pytest-triton[examples]'")
    network = max(package.glob("models/*/model.onnx"))
    if not MODEL.exists() or MODEL.read_bytes() != network.read_bytes():
        MODEL.parent.mkdir(parents=True, exist_ok=True)
        copy = MODEL.with_suffix(".copy")
        shutil.copyfile(network, copy)
        copy.replace(MODEL)
    settings: dict[str, Any] = json.loads((network.parent / "config.min.json").read_text())
    return settings
