"""``pytest-triton search``: what the command line means, and the test that is written of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from python_models import write_model

from pytest_triton import Powers, Range
from pytest_triton.command import main
from pytest_triton.command.generated import SearchTest
from pytest_triton.command.values import read_list
from pytest_triton.errors import UsageError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository ``models`` in the current folder, with the model ``identity``."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "models", "identity")
    return Path("models")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4", [1, 2, 4]),
        ("1..8", Range(1, 8)),
        ("Range(1, 8, 2)", Range(1, 8, 2)),
        ("Powers(1,128)", Powers(1, 128)),
        ("[1, 2]", [1, 2]),
        ("[[1, 2]]", [[1, 2]]),
        ("[4],[4,8]", [[4], [4, 8]]),
        ('none,{},{"a": [1, 2], "b": "x,y"}', [None, {}, {"a": [1, 2], "b": "x,y"}]),
        ("1ms, 3ms", ["1ms", "3ms"]),
        ("KIND_CPU", ["KIND_CPU"]),
        ("true,False,1.5,-1", [True, False, 1.5, -1]),
    ],
)
def test_values_are_json_or_the_text_itself(text, values):
    read = read_list(text)
    assert read == values
    assert type(read) is type(values)


@pytest.mark.parametrize("text", ["1,,2", "{1", "Powers(a)", "Powers(1)", "Range(1,2,3,4)", "8..1", "Powers(0, 0)"])
def test_values_that_cannot_be_meant(text):
    with pytest.raises(UsageError) as caught:
        read_list(text)
    assert caught.value.hint


def test_a_test_reads_as_one_that_was_written_by_hand():
    test = SearchTest(
        "The best configuration of detector.",
        None,
        {"instance_count": Range(1, 4), "dynamic_batching": [None, {"preferred_batch_size": [4]}]},
        settings={"objective": ["throughput", "p99"], "strategy": "exhaustive"},
        load={"concurrency": [1, 2]},
        shapes={"IMAGE": [3, 224, 224]},
        slo={"p99": "25ms", "batch": (">=", "2")},
    )
    assert test.write() == (
        '''"""The best configuration of detector."""

import pytest

from pytest_triton import Range


@pytest.mark.triton_search(
    {
        "instance_count": Range(1, 4),
        "dynamic_batching": [None, {"preferred_batch_size": [4]}],
    },
    objective=["throughput", "p99"],
    strategy="exhaustive",
)
@pytest.mark.triton_load(concurrency=[1, 2])
@pytest.mark.triton_input(shape={"IMAGE": [3, 224, 224]})
@pytest.mark.triton_slo(p99="25ms", batch=(">=", "2"))
def test_best_configuration(triton_perf):
    triton_perf()
'''
    )


def test_a_test_is_written_beside_the_model_once(repository, capsys):
    command = ["search", "models", "identity", "--slo", "p99=25ms", "--axis", "instance_count=1,2", "--budget", "5m"]
    assert main([*command, "--write-test"]) == 0
    path = repository / "identity" / "test_identity.py"
    assert f"pytest {path} --triton-budget=5m" in capsys.readouterr().out
    text = path.read_text()
    assert '@pytest.mark.triton_search({"instance_count": [1, 2]})\n@pytest.mark.triton_slo(p99="25ms")' in text
    assert "triton_model" not in text
    assert main([*command, "--write-test"]) == 2
    assert "test_identity.py is there already, and stays as it is" in capsys.readouterr().err
    assert path.read_text() == text


def test_a_test_elsewhere_names_its_model_and_repository(repository, capsys):
    assert main(["search", "models", "identity", "--write-test", ".", "--server", "local", "--", "-x"]) == 0
    told = capsys.readouterr().out
    assert "pytest test_identity.py --triton-repository=models --triton-server=local -x" in told
    assert '@pytest.mark.triton_model("identity")\n@pytest.mark.triton_search\n' in Path("test_identity.py").read_text()


def test_a_list_may_be_one_value_of_a_field_that_takes_lists(repository):
    axes = ["--axis", "preferred_batch_size=[4]", "--axis", "instance_count=[1,2]"]
    assert main(["search", "models", "identity", *axes, "--write-test"]) == 0
    text = (repository / "identity" / "test_identity.py").read_text()
    assert '"preferred_batch_size": [[4]],' in text
    assert '"instance_count": [1, 2],' in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "identity"], "there is no model repository"),
        (["models", "identiy"], "did you mean 'identity'?"),
        (["models", "identity", "--slo", "p99"], "--slo p99: a name, =, and what it is are expected"),
        (["models", "identity", "--slo", "p99=25"], "'25' has no unit"),
        (["models", "identity", "--slo", "p98=25ms", "--slo", "p98=2ms"], "--slo p98 stands there twice"),
        (["models", "identity", "--slo", "latency=25ms"], "latency"),
        (["models", "identity", "--axis", "instance_cuont=1"], "did you mean 'instance_count'?"),
        (["models", "identity", "--axis", "instance_count=one"], "instance_group.count"),
        (["models", "identity", "--axis", "instance_count=1", "--axis", "instance_group.count=2"], "an axis twice"),
        (["models", "identity", "--objective", "thruput"], "did you mean 'throughput'?"),
        (["models", "identity", "--strategy", "races"], "did you mean 'race'?"),
        (["models", "identity", "--trials", "5"], "--trials means nothing without --strategy optuna"),
        (["models", "identity", "--shape", "X=3,a"], "--shape X=3,a: 'a' is no size"),
        (["models", "identity", "--budget", "5"], "--budget 5: '5' has no unit"),
        (["models", "identity", "--concurrency", "0,1"], "--concurrency 0 is neither a number from 1 on nor auto"),
        (["models", "identity", "--axis", "instance_count=8..1"], "--axis instance_count: Range(8, 1) is no range"),
        (["models", "identity", "--reference", "none.onnx"], "there is no such file"),
        (["models", "identity", "--server", "embeded"], "did you mean 'embedded'?"),
        (["models", "identity", "--axis", 'preferred_batch_size=["a"]'], "preferred_batch_size"),
        (["models", "identity", "--tolerance", "FP31=1,1"], "there is no data type 'FP31'"),
        (["models", "identity", "--tolerance", "FP32=1"], "--tolerance FP32=1: two numbers from 0 on are expected"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_started(repository, capsys, arguments, told):
    assert main(["search", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pytest-triton: ")
    assert told in error
    assert "Traceback" not in error


def test_a_repository_without_models_is_none(repository, capsys):
    Path("empty").mkdir()
    assert main(["check", "empty"]) == 2
    assert "there is no model in empty" in capsys.readouterr().err
