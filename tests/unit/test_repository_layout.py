"""Where models and repositories are found, and what is said when they are not."""

from pathlib import Path

import pytest

from pytest_triton.errors import ModelNotFound, RepositoryError
from pytest_triton.repository.layout import find_model, find_repository, models


def make(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make(
        tmp_path / "models",
        "alexnet/config.pbtxt",
        "alexnet/1/model.onnx",
        "alexnet/12/model.onnx",
        "alexnet/2/model.onnx",
        "resnet/1/model.plan",
        "README.md",
        "data/images.npz",
    )


def test_a_model_has_a_configuration_and_versions_in_numeric_order(repository: Path) -> None:
    found = find_model(repository, "alexnet")
    assert found.name == "alexnet"
    assert found.path == repository / "alexnet"
    assert found.configuration == repository / "alexnet" / "config.pbtxt"
    assert found.versions == (1, 2, 12)


def test_a_model_without_config_pbtxt_is_a_model(repository: Path) -> None:
    assert find_model(repository, "resnet").configuration is None


def test_only_folders_with_a_model_in_them_are_listed(repository: Path) -> None:
    assert [model.name for model in models(repository)] == ["alexnet", "resnet"]


@pytest.mark.parametrize("ignored", ["0", "01", "v1", "\u0661"])
def test_versions_that_triton_ignores_are_no_versions(tmp_path: Path, ignored: str) -> None:
    make(tmp_path, "m/config.pbtxt", f"m/{ignored}/model.onnx")
    with pytest.raises(ModelNotFound, match="has no version") as caught:
        find_model(tmp_path, "m")
    assert f"{tmp_path / 'm' / '1'}/" in str(caught.value)


def test_a_missing_model_is_answered_with_the_nearest_name(repository: Path) -> None:
    with pytest.raises(ModelNotFound, match="has no model 'alexnett'") as caught:
        find_model(repository, "alexnett")
    assert caught.value.hint == "did you mean 'alexnet'?"
    assert caught.value.model == "alexnett"


def test_a_model_unlike_any_other_is_answered_with_all_names(repository: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find_model(repository, "whisper")
    assert caught.value.hint == "valid names: alexnet, resnet"


def test_an_empty_repository_says_what_a_model_is(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nor any other") as caught:
        find_model(tmp_path, "m")
    assert str(tmp_path / "m" / "1") in caught.value.hint


def test_a_missing_repository_names_those_nearby(repository: Path) -> None:
    with pytest.raises(RepositoryError, match="no model repository") as caught:
        find_model(repository.parent / "modles", "alexnet")
    assert str(repository) in str(caught.value)


def test_a_model_taken_for_its_repository(repository: Path) -> None:
    with pytest.raises(ModelNotFound, match="it is a model itself") as caught:
        find_model(repository / "alexnet", "alexnet")
    assert str(repository) in caught.value.hint


def test_a_file_is_no_repository(repository: Path) -> None:
    with pytest.raises(RepositoryError, match="it is a file"):
        models(repository / "README.md")


@pytest.mark.parametrize("name", ["../alexnet", "/etc", "a/b", "", ".", "..", "a\\b"])
def test_a_path_is_no_name(repository: Path, name: str) -> None:
    with pytest.raises(RepositoryError, match="not the name of a model"):
        find_model(repository, name)


@pytest.mark.parametrize(
    "test_file",
    ["alexnet/test_alexnet.py", "alexnet/tests/deep/test_alexnet.py", "resnet/test_resnet.py", "test_all.py"],
)
def test_a_test_file_beside_a_model_or_in_the_repository_finds_it(repository: Path, test_file: str) -> None:
    make(repository, test_file)
    assert find_repository(repository / test_file) == repository


def test_a_test_file_elsewhere_finds_none(repository: Path) -> None:
    make(repository.parent, ".git/HEAD", "tests/test_other.py")
    assert find_repository(repository.parent / "tests" / "test_other.py") is None


def test_numbered_folders_of_other_things_are_no_models(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", "runs/1/output.txt", "runs/test_runs.py")
    assert find_repository(tmp_path / "runs" / "test_runs.py") is None
