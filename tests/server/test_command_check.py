"""``pytest-triton check``: a repository in which some models work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from python_models import write_model, write_repeat
from serving import serve
from tls import make_certificates, tls_proxy

from pytest_triton.command import main

PAIR = """platform: "ensemble"
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
max_batch_size: 8
ensemble_scheduling {{ step [ {{
  model_name: "picky" model_version: -1
  input_map {{ key: "X" value: "X" }} output_map {{ key: "Y" value: "Y" }}
}} ] }}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def write_onnx(folder: Path) -> None:
    """Write a model without a config.pbtxt."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("IN", "OUT")]
    graph = helper.make_graph([helper.make_node("Relu", ["IN"], ["OUT"])], "relu", tensors[:1], tensors[1:])
    (folder / "1").mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "1" / "model.onnx"
    )


def test_every_model_is_checked_whatever_becomes_of_the_others(repository, capsys):
    picky = 'assert pb_utils.get_input_tensor_by_name(requests[0], "X").as_numpy().shape[1] == 7, "seven, please"'
    write_model(repository, "picky", execute=picky)
    write_model(repository, "pair", configuration=PAIR)
    write_model(repository, "broken", configuration="max_batch_sise: 8\n")
    write_model(repository, "fast", configuration='backend: "tensorrt"\n')
    write_onnx(repository / "relu")
    write_repeat(repository, "repeat", mark_last=False)
    assert main(["check", "models"]) == 1
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out[out.index("first request") :].splitlines()[2:] if line.strip()}
    assert {
        name: "FAILED" in line for name, line in rows.items() if name in {path.name for path in repository.iterdir()}
    } == {
        "broken": True,
        "fast": True,
        "pair": True,
        "picky": True,
        "relu": False,
        "repeat": False,
    }
    assert "config.pbtxt:1:1: ModelConfig has no field 'max_batch_sise'" in out
    assert "the embedded server cannot serve it: it has no backend 'tensorrt'" in out
    assert "use --triton-server=local" in out
    assert "seven, please" in out
    assert "asked with X of shape [1]; with another one by --shape X=1" in out
    assert "max_batch_size: not set -> 4" in out
    assert "input IN: not set -> FP32 [4]" in out
    assert re.search(r"^relu +onnxruntime +embedded, local, docker, running +ok +\S+ m?s +\S+ [mu]s$", rows["relu"])
    assert rows["fast"].split()[1:5] == ["tensorrt", "local,", "docker,", "running"]
    assert "2 of 6 work: not broken, fast, pair, picky" in out

    assert main(["check", "models", "pair", "picky", "--shape", "X=7", "--shape", "Z=1"]) == 2
    told = capsys.readouterr()
    assert "2 of 2 work" in told.out
    assert "--shape Z: no model that was checked has such an input" in told.err


def test_a_model_that_takes_the_server_with_it_costs_the_others_nothing(repository, capsys):
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    write_model(repository, "deadly", execute=kill, dims="[ 1 ]")
    write_model(repository, "fine", dims="[ 1 ]")
    assert main(["check", "models"]) == 1
    assert "1 of 2 work: not deadly" in capsys.readouterr().out


def test_a_model_that_never_answers_holds_nothing_up(repository, capsys):
    write_model(repository, "asleep", initialize="import time; time.sleep(600)", dims="[ 1 ]")
    write_model(repository, "corrupt", configuration="max_batch_sise: 8\n")
    assert main(["check", "models", "--timeout", "0.5s"]) == 1
    out = capsys.readouterr().out
    assert "did not answer POST /v2/repository/models/asleep/load within 0.5 s" in out
    assert "0 of 2 work: not asleep, corrupt" in out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_running_server_is_asked_as_pytest_would_and_keeps_what_it_serves(repository, tmp_path, capsys, monkeypatch):
    write_model(repository, "served", dims="[ 1 ]")
    write_model(repository, "other", dims="[ 1 ]")
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("SERVER_TOKEN", "hunter2")
    with (
        serve(repository, tmp_path, "served") as server,
        tls_proxy(server.endpoints.address("http"), certificates, token="hunter2") as address,
    ):
        header = "Authorization: Bearer env:SERVER_TOKEN"
        (tmp_path / "pytest.ini").write_text(f"[pytest]\ntriton_header = {header}\ntriton_ca = {certificates.ca}\n")
        assert main(["check", "models", "--server", f"https://{address}"]) == 0
        assert "2 of 2 work" in capsys.readouterr().out
        assert server.control.model_ready("served")
        assert not server.control.model_ready("other")
        assert main(["check", "models", "--server", f"https://{address}", "--header", "Authorization: hunter3"]) == 3
        refused = capsys.readouterr()
    assert "who are you, ***?" in refused.err
    assert "hunter" not in refused.out + refused.err


@pytest.mark.parametrize("timeout", ["2", "0s", "soon"])
def test_a_time_out_that_is_none_is_refused(timeout, repository, capsys):
    write_model(repository, "fine", dims="[ 1 ]")
    assert main(["check", "models", "--timeout", timeout]) == 2
    assert f"--timeout {timeout}" in capsys.readouterr().err
