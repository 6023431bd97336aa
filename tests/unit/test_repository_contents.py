"""A copy of a repository has all that is in it, and nothing from outside."""

import os
from pathlib import Path

import pytest

from pytest_triton.errors import RepositoryError
from pytest_triton.repository.contents import read_contents


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One model, with a link inside the repository, and a secret beside the repository."""
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "models"
    (root / "one" / "1").mkdir(parents=True)
    (root / "one" / "1" / "model.onnx").write_text("m")
    (root / "one" / "2").symlink_to("1", target_is_directory=True)
    (root / ".git").mkdir()
    return root


def test_links_inside_are_followed(repository: Path):
    found = {str(entry.name): entry for entry in read_contents(repository)}
    assert list(found) == ["one", "one/1", "one/1/model.onnx", "one/2", "one/2/model.onnx"]
    assert found["one/2"].is_folder
    assert found["one/2/model.onnx"].source == repository / "one" / "1" / "model.onnx"
    linked = repository.parent / "linked"
    linked.symlink_to(repository)
    assert [str(entry.name) for entry in read_contents(linked)] == list(found)


@pytest.mark.parametrize("target", ["../../secret", "{outside}/secret", "../..", "/", "/proc/self/environ", "there"])
def test_links_that_lead_out_are_refused(repository: Path, tmp_path: Path, target: str):
    (repository / "one" / "there").symlink_to(tmp_path)
    (repository / "one" / "link").symlink_to(target.format(outside=tmp_path))
    with pytest.raises(RepositoryError, match=r"models/one/(link|there) leads out of the repository"):
        list(read_contents(repository))


def test_what_cannot_be_copied_is_told(repository: Path):
    (repository / "one" / "link").symlink_to("nothing")
    with pytest.raises(RepositoryError, match=r"one/link leads nowhere: nothing"):
        list(read_contents(repository))
    (repository / "one" / "link").unlink()
    (repository / "one" / "1" / "up").symlink_to("..")
    with pytest.raises(RepositoryError, match=r"one/1/up leads back to"):
        list(read_contents(repository))
    (repository / "one" / "1" / "up").unlink()
    os.mkfifo(repository / "one" / "pipe")
    with pytest.raises(RepositoryError, match=r"one/pipe is neither a file nor a folder"):
        list(read_contents(repository))
    with pytest.raises(RepositoryError, match="cannot be read"):
        list(read_contents(repository / "nothing"))
