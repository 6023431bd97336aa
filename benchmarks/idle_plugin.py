"""What the plugin costs a pytest run that uses none of it.

    python benchmarks/idle_plugin.py

Two figures: the time that importing the plugin takes once pytest itself is imported, in fresh interpreters; and whole
pytest runs on one empty test with the plugin and without (``-p no:triton``), in alternation. Also the heavy modules
that the import pulled in, of which there should be none.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 21
HEAVY = ("numpy", "scipy", "grpc", "docker", "onnx", "onnxruntime", "tritonclient", "google.protobuf", "psutil")
IMPORT = f"""
import time
import pytest
import _pytest.config, _pytest.terminal
began = time.perf_counter()
import pytest_triton.plugin
seconds = time.perf_counter() - began
import sys
print(seconds, [name for name in {HEAVY!r} if name in sys.modules])
"""


def time_import() -> tuple[float, str]:
    """Import the plugin in a fresh interpreter; return the seconds it took and the heavy modules it loaded."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    seconds, _, heavy = done.stdout.strip().partition(" ")
    return float(seconds), heavy


def time_run(folder: Path, *arguments: str) -> float:
    """Run pytest on one empty test; return the wall time of the whole process."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print both figures."""
    time_import()
    imports = [time_import() for _ in range(ROUNDS)]
    seconds = sorted(seconds for seconds, _ in imports)
    median, least, most = (value * 1e3 for value in (statistics.median(seconds), seconds[0], seconds[-1]))
    print(f"import: median {median:.1f} ms, from {least:.1f} to {most:.1f} ms, {ROUNDS} rounds")
    print(f"heavy modules loaded: {imports[0][1]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_empty.py").write_text("def test_empty():\n    pass\n")
        time_run(folder)
        pairs = [(time_run(folder), time_run(folder, "-p", "no:triton")) for _ in range(ROUNDS)]
    with_plugin, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    difference = statistics.median(a - b for a, b in pairs)
    print(f"whole run: {with_plugin:.3f} s with the plugin, {without:.3f} s without")
    print(f"median of the differences of {ROUNDS} pairs: {difference * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
