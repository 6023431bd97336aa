"""GPUs of a machine that has none: ``fake_gpus/pynvml.py`` in the place of NVML's own module."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.server import nvml

FAKES = Path(__file__).parent / "fake_gpus"
GIB = 2**30
H100 = {
    "uuid": "GPU-aaaaaaaa-1111-2222-3333-444444444444",
    "name": "NVIDIA H100 80GB HBM3",
    "used": 3 * GIB,
    "total": 80 * GIB,
    "utilization": 40,
    "power": 250_000,
    "clock": 1_980,
    "reasons": 0,
}
L4 = {**H100, "uuid": "GPU-bbbbbbbb-1111-2222-3333-444444444444", "name": "NVIDIA L4", "total": 24 * GIB}


def install_fakes(monkeypatch: pytest.MonkeyPatch, *gpus: dict[str, Any]) -> None:
    """Let this process, and those that it starts, see ``gpus`` (as ``fake_gpus/pynvml.py`` takes them)."""
    spec = importlib.util.spec_from_file_location("pynvml", FAKES / "pynvml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setenv("FAKE_GPUS", json.dumps(gpus))
    path = [str(FAKES), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    nvml._open.cache_clear()
