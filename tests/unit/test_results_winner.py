"""A winner's configuration as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import RepositoryError
from pytest_triton.results.winner import Install, write_winner

TEXT = 'backend: "python"  # ours\ninstance_group [ { count: 1 } ]\n'
CHANGED = TEXT.replace("count: 1", "count: 3")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(TEXT)
    return folder.parent


def written(repository: Path, **others: object) -> dict[str, str]:
    """Write a winner with three instances."""
    install = Install(repository.parent / "best", repository, **others)  # type: ignore[arg-type]
    return write_winner(install, "m", {"instance_group.count": 3}, ModelConfig(name="m"))


def test_it_is_the_model_s_own_file_with_the_patch_in_it(repository: Path) -> None:
    found = written(repository)
    assert Path(found["path"]).read_text() == CHANGED
    assert "selected_by" not in found
    assert "installed" not in found
    assert (repository / "m" / "config.pbtxt").read_text() == TEXT


def test_one_with_a_name_goes_where_triton_looks_for_it(repository: Path) -> None:
    found = written(repository, into_repository=True, name="h100")
    installed = repository / "m" / "configs" / "h100.pbtxt"
    assert found["path"] == str(repository.parent / "best" / "configs" / "h100.pbtxt")
    assert found["installed"] == str(installed)
    assert found["selected_by"] == "tritonserver --model-config-name=h100"
    assert installed.read_text() == CHANGED
    # The one without a name stays as it is, and is what the diff is against.
    assert (repository / "m" / "config.pbtxt").read_text() == TEXT
    assert "+instance_group [ { count: 3 } ]" in found["diff"].splitlines()
    assert "original" not in found
    installed.write_text("# another\n")
    assert Path(written(repository, into_repository=True, name="h100")["original"]).read_text() == "# another\n"


def test_a_folder_that_cannot_be_made_is_named(repository: Path) -> None:
    (repository / "m" / "configs").write_text("a file")
    with pytest.raises(RepositoryError, match="configs cannot be made") as caught:
        written(repository, into_repository=True, name="h100")
    assert "nothing that was measured is lost" in caught.value.hint
