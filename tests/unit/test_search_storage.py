"""Where a study may be kept: what is seen to be wrong with it before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_triton.errors import OptionError
from pytest_triton.search.strategies.storage import check_storage, place_of


@pytest.mark.parametrize(
    ("storage", "complaint"),
    [
        ("study.txt", "is no place for a study"),
        ("redis://localhost/0", "there is no database called 'redis'"),
        ("postgresql://me:se@cr@localhost:port/x", "storage='postgresql://me@localhost:port/x' is no URL"),
        ("mysql+nosuchdriver://localhost/x", "no database called 'mysql+nosuchdriver'"),
        ("oracle://localhost/x", "the driver of oracle is not installed"),
        ("sqlite:///{base}/nowhere/study.db", "there is no folder {base}/nowhere"),
        ("sqlite:///{base}", "{base} is a folder"),
        ("{base}/file/study.journal", "there is no folder {base}/file"),
        ("{base}/kept.db", "{base}/kept.db is a folder"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, storage: str, complaint: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "kept.db").mkdir()
    with pytest.raises(OptionError) as caught:
        check_storage(storage.format(base=tmp_path))
    assert complaint.format(base=tmp_path) in caught.value.problem
    assert "se@cr" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "storage",
    [
        "new/folder/study.journal",
        "study.db",
        "sqlite:///{base}/study.db",
        "postgresql://me@localhost:1/nobody-listens-there",
    ],
)
def test_what_may_be_used_is_not_touched(tmp_path: Path, storage: str) -> None:
    check_storage(place_of(storage.format(base=tmp_path), tmp_path))
    assert not list(tmp_path.iterdir())
