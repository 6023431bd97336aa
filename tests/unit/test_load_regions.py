"""Names of shared-memory regions: whose they are, and whether that process is gone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_triton.load import regions
from pytest_triton.owner import is_abandoned


@pytest.fixture
def name_of_the_dead() -> str:
    """A name that a process has made which is gone."""
    program = "from pytest_triton.load.regions import make_name; print(make_name())"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def blocks() -> Iterator[list[str]]:
    """Names of blocks to remove at the test's end."""
    names: list[str] = []
    yield names
    for name in names:
        regions.unlink(name)


def test_names_are_unique_and_begin_with_their_servers():
    assert len({regions.make_name() for _ in range(100)}) == 100
    assert regions.make_name("pytest-triton-0123456789").startswith("pytest-triton-0123456789.")
    assert regions.make_name("triton").startswith("pytest-triton-memory.")


def test_only_what_the_dead_left_is_abandoned(name_of_the_dead: str):
    assert is_abandoned(name_of_the_dead)
    assert not is_abandoned(regions.make_name())


@pytest.mark.parametrize(
    ("field", "value", "abandoned"),
    [
        (1, "1", False),  # another namespace of process ids: nothing is known of it from here
        (3, "1", True),  # the same process id, and another process
        (2, str(2**22 + 1), True),
        (0, "someone-else", False),
        (4, "not-hex!", False),
    ],
)
def test_every_part_of_a_name_counts(field: int, value: str, abandoned: bool):
    parts = regions.make_name().split(".")
    parts[field] = value
    assert is_abandoned(".".join(parts)) is abandoned


def test_the_next_run_removes_what_the_dead_left_and_nothing_else(name_of_the_dead: str, blocks: list[str]):
    ours, foreign = regions.make_name(), f"pytest-triton-foreign-{os.getpid()}"
    blocks += [name_of_the_dead, ours, foreign]
    for name in blocks:
        (regions.SHARED_MEMORY / name).write_bytes(b"x")
    regions.remove_abandoned()
    assert [(regions.SHARED_MEMORY / name).exists() for name in blocks] == [False, True, True]


def test_a_server_that_is_gone_does_not_keep_blocks(blocks: list[str]):
    name = regions.make_name()
    blocks.append(name)
    path = Path(regions.SHARED_MEMORY / name)
    path.write_bytes(b"x")
    regions.release([{"kind": "system", "name": name}], {"address": "127.0.0.1:1", "headers": {}, "tls": None})
    assert not path.exists()
