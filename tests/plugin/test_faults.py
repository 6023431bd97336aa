"""A run is ended at any stage: nothing of it is left, what it has finished is kept, and the next run works."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker_engine import IMAGE, TestEngine
from faults import ENDINGS, STAGES, Project

from pytest_triton.server.docker.owners import LABEL


def test_nothing_is_left_whenever_and_however_a_run_ends(tmp_path: Path):
    end_at_each(STAGES, tmp_path, "--triton-server=embedded")


def test_nothing_is_left_of_a_container(tmp_path: Path, docker_engine: TestEngine):
    end_at_each(STAGES, tmp_path, "--triton-server=docker", f"--triton-image={IMAGE}")
    # The first run of each project may have left a container that it had not started yet; the next ones remove it.
    assert docker_engine.client.api.containers(all=True, filters={"label": LABEL}) == []


def end_at_each(stages: tuple[str, ...], folder: Path, *arguments: str) -> None:
    """Run pytest once for each of the stages, and end it there in each of the ways."""
    projects = {ending: Project(folder / ending.name, arguments) for ending in ENDINGS}
    for project in projects.values():
        project.write()
    with ThreadPoolExecutor() as pool:
        for stage in stages:
            # Each run is the next one after that which was ended at the stage before, and comes further.
            runs = [pool.submit(project.end_at, stage, ending) for ending, project in projects.items()]
            texts = [run.result() for run in runs]
            if stage == "measurement":
                # Ctrl-C shows what was measured before.
                assert "Concurrency: 1, throughput: " in texts[0]
                assert "Traceback" not in texts[0]


def test_a_worker_that_is_killed_leaves_nothing_and_the_others_go_on(tmp_path: Path):
    project = Project(tmp_path, ("-n", "2", "-k", "test_gate"))
    project.write()
    ended = project.run("measurement", signal.SIGKILL)
    assert ended.left == []
    assert "1 failed, 1 passed" in ended.text
    assert "crashed while running 'models/identity/test_identity.py::test_gate[c2]'" in ended.text
    assert project.count_records() == 1
