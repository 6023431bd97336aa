"""What the server's log tells."""

from pathlib import Path

import pytest

from pytest_triton.server import log as server_log
from pytest_triton.server.log import begin, find_refusal, last_lines, measure, read_tail, telling_lines

LOG = """\
I1123 14:51:59.608691 11426 cuda_memory_manager.cc:117] "CUDA memory pool disabled"
E1123 14:51:59.608794 11426 server.cc:241] "CudaDriverHelper has not been initialized."
[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 2:9: no field named "nonsense".
E1123 14:51:59.674683 11426 manager.cc:1460] "Poll failed for model directory 'a': failed to read text proto from /a"
E1123 14:52:11.040880 11426 manager.cc:1460] "Poll failed for model directory 'b': directory name must equal model name"
E1123 14:52:11.041880 11426 manager.cc:1415] "failed to poll model 'c': model not found in any model repository."
I1123 14:52:12.000000 11426 manager.cc:1] "last"
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "server.log").write_text(LOG)
    return tmp_path / "server.log"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("a", 'config.pbtxt:2:9: no field named "nonsense".'),
        ("b", "directory name must equal model name"),
        ("c", "model not found in any model repository."),
        ("d", ""),
    ],
)
def test_the_reason_is_found_by_the_models_name(log: Path, model: str, reason: str):
    assert find_refusal(log, model, since=0) == reason


def test_what_was_written_before_does_not_count(log: Path):
    assert find_refusal(log, "b", since=LOG.index("E1123 14:52:11.041880")) == ""
    assert find_refusal(log, "c", since=LOG.index("E1123 14:52:11.041880")) != ""


def test_errors_tell_and_those_of_a_machine_without_gpu_do_not(log: Path):
    lines = telling_lines(log)
    assert len(lines) == 3
    assert not any("CudaDriverHelper" in line for line in lines)


def test_without_errors_the_last_lines_tell(tmp_path: Path):
    (tmp_path / "log").write_text("one\n\ntwo\nthree\n")
    assert telling_lines(tmp_path / "log", count=2) == ["two", "three"]


def test_the_tail_holds_whole_lines_only(log: Path):
    assert read_tail(log, size=60) == LOG.splitlines()[-1:]
    assert read_tail(log, size=len(LOG)) == LOG.splitlines()


def test_a_log_that_is_not_there_is_empty(tmp_path: Path):
    assert read_tail(tmp_path / "none") == []
    assert measure(tmp_path / "none") == 0
    assert measure(None) == 0


def test_only_the_last_server_that_has_begun_is_told(log: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_\udcff.py::test_it (call)")
    begin(log, "the embedded server")
    assert (read_tail(log), telling_lines(log)) == ([], [])
    with log.open("a") as stream:
        stream.write("I1123 the second server\n")
    assert last_lines(log) == telling_lines(log) == ["I1123 the second server"]
    text = log.read_text()
    assert text.startswith(LOG + "\n=== pytest-triton: the embedded server, ")
    assert "test_\\udcff.py::test_it (call)" in text


def test_a_log_that_is_too_long_begins_anew(log: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_log, "MOST_BYTES", len(LOG) - 1)
    begin(log, "another")
    assert log.read_text().startswith("=== pytest-triton: another, ")
