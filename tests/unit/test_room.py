"""Whether a second copy of a model fits beside the first."""

from pathlib import Path

import pytest

from pytest_triton.observation import ResourceUsage
from pytest_triton.room import available_memory, is_short


def test_what_a_container_may_have_counts_where_it_is_less(tmp_path: Path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert available_memory(meminfo, tmp_path) == 8000 * 1024
    for name, text in [("max", "4096000"), ("current", "3072000"), ("stat", "anon 7\ninactive_file 1000\n")]:
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert available_memory(meminfo, tmp_path) == 1024000 + 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(meminfo, tmp_path) == 8000 * 1024
    assert available_memory(tmp_path / "none", tmp_path / "none") == float("inf")


@pytest.mark.parametrize(
    ("usage", "wanted", "short"),
    [
        (ResourceUsage(rss=1 << 20), 1, False),
        (ResourceUsage(rss=1 << 60), 1, True),
        (ResourceUsage(rss=1 << 20), 1 << 40, True),
        (ResourceUsage(), 1, False),
        (ResourceUsage(rss=1, gpu_memory=6, gpu_memory_total=10), 1, True),
        (ResourceUsage(rss=1, gpu_memory=5, gpu_memory_total=10), 1, False),
    ],
)
def test_a_copy_needs_what_the_one_before_has(usage: ResourceUsage, wanted: int, short: bool):
    assert is_short(usage, loaded=1, wanted=wanted) is short
