"""What a large search costs at collection, beside plain pytest parametrization.

    python benchmarks/collection.py

A search of 2,000 candidates (four axes with an exclude predicate, an SLO for all and one for a single candidate, beside
a config.pbtxt that has some combinations refused) and a plain test with as many parameters are collected in turn, each
in a process of its own: ``pytest --collect-only -q``. What is reported is the difference of each pair, whole commands.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGURATION = 'backend: "python"\nmax_batch_size: 16\n'
PLAIN = """
import pytest

@pytest.mark.parametrize("value", range({tests}), ids=[f"value-{{number}}" for number in range({tests})])
def test_plain(value):
    pass
"""
SEARCH = """
import pytest
from pytest_triton import Range

@pytest.mark.triton_search(
    {{
        "instance_group.count": Range(1, {counts}),
        "max_batch_size": Range(1, 16),
        "dynamic_batching.preferred_batch_size": [[1], [17]],
        "dynamic_batching.max_queue_delay_microseconds": Range(0, 500, 100),
        "parameters.intra_op_thread_count": [1, 2],
    }},
    exclude=lambda values: values["dynamic_batching.max_queue_delay_microseconds"] == 500,
)
@pytest.mark.triton_slo(p99="50ms")
@pytest.mark.triton_slo(candidate="i1-b1-p1-d0us-t1", p99="10ms")
def test_search(triton_perf):
    triton_perf()
"""
PER_COUNT = 16 * 5 * 2
"""Candidates that are left for each instance count."""


def collect(folder: Path, tests: int) -> float:
    """Collect ``folder`` and return the seconds of the whole command."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    seconds = time.perf_counter() - began
    if f"{tests} tests collected" not in done.stdout:
        raise SystemExit(f"{tests} tests were expected:\n{done.stdout[-2000:]}")
    return seconds


def main() -> None:
    """Print both medians, and the median and range of the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=2000, help="about how many (default: 2000)")
    parser.add_argument("--rounds", type=int, default=11, help="pairs (default: 11)")
    wish = parser.parse_args()
    counts = math.ceil(wish.candidates / PER_COUNT)
    tests = counts * PER_COUNT + 1
    # No benchmark of bytecode: both tests are compiled once, by the first pair, which does not count.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        search, plain = Path(name) / "search", Path(name) / "plain"
        (search / "models" / "network" / "1").mkdir(parents=True)
        (search / "models" / "network" / "config.pbtxt").write_text(CONFIGURATION)
        (search / "models" / "network" / "test_network.py").write_text(SEARCH.format(counts=counts))
        plain.mkdir()
        (plain / "test_plain.py").write_text(PLAIN.format(tests=tests))
        for folder in (search, plain):
            (folder / "pytest.ini").write_text("[pytest]\n")
        pairs = [(collect(search, tests), collect(plain, tests)) for _ in range(wish.rounds + 1)][1:]
    gaps = sorted(ours - theirs for ours, theirs in pairs)
    print(
        f"{tests:,} tests: search {statistics.median(ours for ours, _ in pairs):.2f} s, "
        f"plain {statistics.median(theirs for _, theirs in pairs):.2f} s; "
        f"difference {statistics.median(gaps):.2f} s, from {gaps[0]:.2f} s to {gaps[-1]:.2f} s, {wish.rounds} pairs"
    )


if __name__ == "__main__":
    main()
