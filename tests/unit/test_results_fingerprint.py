"""Where and what was measured: the machine, the source, the model's files, its configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.results import digests, fingerprint
from pytest_triton.results.digests import digest_configuration, digest_model
from pytest_triton.results.fingerprint import changes, machine, read_gpus
from pytest_triton.results.revision import revision


def test_this_machine_is_described():
    here = machine()
    assert here["cores"] >= 1
    assert here["memory"] % 2**28 == 0
    assert {"cpu", "system", "python", "pytest_triton"} <= here.keys()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("", {}),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", {}),
        (
            "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15\nNVIDIA L4, 23034 MiB, 550.54.15\n",
            {"gpus": ["NVIDIA H100 80GB HBM3 81559 MiB", "NVIDIA L4 23034 MiB"], "driver": "550.54.15"},
        ),
    ],
)
def test_gpus_are_read(answer, found):
    assert read_gpus(answer) == found


def test_gpus_are_asked_for(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for script, found in (('echo "NVIDIA L4, 23034 MiB, 550.1"', ["NVIDIA L4 23034 MiB"]), ("exit 9", None)):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert read_gpus(fingerprint._ask_nvidia_smi()).get("gpus") == found


def test_changes_are_told_in_words():
    before = {"cpu": "A", "cores": 2, "memory": 2**34, "triton": "2.51.0", "gpus": ["L4"]}
    after = {"cpu": "B", "cores": 2, "memory": 2**35, "engine": "wire", "gpus": []}
    assert changes(before, after) == ["CPU A -> B", "memory 16.0 GiB -> 32.0 GiB", "GPUs L4 -> none"]
    assert changes(before, before) == []


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git checkout with one commit, outside every CI system."""
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "CI_", "BUILD", "CIRCLE_", "GIT_")) or name in ("BRANCH_NAME", "CHANGE_BRANCH"):
            monkeypatch.delenv(name)
    revision.cache_clear()
    (tmp_path / "file").write_text("1")
    for arguments in (
        ["init", "-q", "-b", "work"],
        ["add", "file"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "c"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_the_revision_is_that_of_the_tests(checkout):
    found = revision(checkout)
    assert len(found["commit"]) == 40
    assert (found["dirty"], found["branch"]) == (False, "work")
    assert "ci_run" not in found
    (checkout / "untracked").write_text("")
    revision.cache_clear()
    assert revision(checkout)["dirty"] is False
    (checkout / "file").write_text("2")
    revision.cache_clear()
    assert revision(checkout)["dirty"] is True


@pytest.mark.parametrize(
    ("variables", "branch", "run"),
    [
        ({"GITHUB_RUN_ID": "7", "GITHUB_REF_NAME": "12/merge", "GITHUB_HEAD_REF": "fix"}, "fix", "7"),
        ({"GITHUB_RUN_ID": "7", "GITHUB_REF_NAME": "main", "GITHUB_HEAD_REF": ""}, "main", "7"),
        ({"CI_PIPELINE_ID": "8", "CI_COMMIT_REF_NAME": "main"}, "main", "8"),
        ({"BUILD_TAG": "jenkins-9", "CHANGE_BRANCH": "fix", "BRANCH_NAME": "PR-1"}, "fix", "jenkins-9"),
    ],
)
def test_a_ci_system_says_which_run_and_branch_it_is(checkout, monkeypatch, variables, branch, run):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = revision(checkout)
    assert (found["branch"], found["ci_run"]) == (branch, run)


def test_no_checkout_no_commit(checkout, tmp_path_factory, monkeypatch):
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    assert revision(outside) == {}
    monkeypatch.setenv("PATH", str(outside))
    revision.cache_clear()
    assert revision(checkout) == {}, "there is no git"


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "detector"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"weights")
    (folder / "labels.txt").write_text("cat")
    (folder / "config.pbtxt").write_text("max_batch_size: 4")
    return folder


@pytest.mark.parametrize(
    ("path", "content", "changed"),
    [
        ("1/model.onnx", "Weights", True),
        ("labels.txt", "dog", True),
        ("2/model.onnx", "weights", True),
        ("1/deep/er.bin", "", True),
        ("1/test_data.py", "", True),
        ("config.pbtxt", "max_batch_size: 8", False),
        ("config.pbtxt.orig", "", False),
        ("slo.toml", "", False),
        ("test_detector.py", "", False),
        ("conftest.py", "", False),
        (".hidden", "", False),
        ("__pycache__/x.pyc", "", False),
    ],
)
def test_a_models_digest_is_of_what_is_served(model, path, content, changed):
    before = digest_model(model)
    (model / path).parent.mkdir(parents=True, exist_ok=True)
    (model / path).write_text(content)
    assert (digest_model(model) != before) is changed


def test_a_models_digest_does_not_depend_on_where_it_lies(model):
    before = digest_model(model)
    assert before
    assert digest_model(model.rename(model.with_name("moved"))) == before
    assert digest_model(model) == "", "there is none any more"


def test_of_a_large_file_only_blocks_are_read(model, monkeypatch):
    monkeypatch.setattr(digests, "WHOLE", 2**20)
    large = model / "1" / "model.onnx"
    size = 600 * digests.BLOCK
    with large.open("wb") as file:
        file.truncate(size)
    seen = {digest_model(model)}
    for place in (0, size - 1, (size - digests.BLOCK) * 100 // (digests.BLOCKS - 1)):
        with large.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        status = large.stat()
        os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns + len(seen)))
        seen.add(digest_model(model))
    assert len(seen) == 4


def test_an_unreadable_file_leaves_the_digest_unknown(model):
    (model / "1" / "model.onnx").unlink()
    (model / "1" / "model.onnx").symlink_to("nowhere")
    assert digest_model(model) == ""


def test_a_configurations_digest_is_the_same_under_another_name():
    one = ModelConfig(name="detector", max_batch_size=4)
    one.parameters["b"].string_value = one.parameters["a"].string_value = "1"
    other = ModelConfig(name="detector-alias", max_batch_size=4)
    other.parameters["a"].string_value = other.parameters["b"].string_value = "1"
    assert digest_configuration(one) == digest_configuration(other)
    assert one.name == "detector"
    other.max_batch_size = 8
    assert digest_configuration(one) != digest_configuration(other)
