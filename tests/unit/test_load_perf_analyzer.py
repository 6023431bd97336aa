"""Perf Analyzer's inputs, its export, and how a run of it ends, without a server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_triton.case import Load, Phases
from pytest_triton.errors import EngineError
from pytest_triton.load import TLS, Plan, Request, RequestSet
from pytest_triton.load.perf_analyzer import PerfAnalyzerEngine
from pytest_triton.load.perf_analyzer_export import BrokenExport, read_export
from pytest_triton.load.perf_analyzer_inputs import describe_inputs
from pytest_triton.load.perf_analyzer_program import Binary

X = np.arange(6, dtype=np.float32).reshape(2, 3)
REQUEST = Request("echo", {"X": X}, {"X": "FP32"})


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        (Load(rate=Phases(("1s", "5/s"))), "Phases"),
        (Load(concurrency="auto"), "concurrency"),
        (Load(streaming=True), "only gRPC"),
        (Load(shared_memory="cuda"), "CUDA"),
        (Load(sequence_length=(3, 5)), "(3, 5)"),
        (Load(sequence_length=3, batch_size=2), "single inferences"),
    ],
)
def test_refuses_by_name(load: Load, problem: str) -> None:
    refusal = PerfAnalyzerEngine().refusal(load)
    assert refusal is not None
    assert problem in refusal
    with pytest.raises(EngineError):
        PerfAnalyzerEngine().open(Plan("127.0.0.1:9", load, RequestSet.of(REQUEST)))


@pytest.mark.parametrize(
    "load",
    [
        Load(concurrency=4),
        Load(rate=50.0, arrivals="constant", protocol="grpc", streaming=True),
        Load(sequence_length=(3, 3)),
        Load(shared_memory="system", batch_size=8),
    ],
)
def test_refuses_nothing_that_it_can_send(load: Load) -> None:
    assert PerfAnalyzerEngine().refusal(load) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tls": TLS()}, "TLS"),
        ({"headers": {"Authorization": "Bearer secret"}}, "headers"),
        ({"validate": "all"}, "compare answers"),
    ],
)
def test_refuses_what_else_a_plan_asks_for(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(EngineError, match=problem) as caught:
        PerfAnalyzerEngine().open(Plan("127.0.0.1:9", Load(), RequestSet.of(REQUEST), **options))
    assert "secret" not in str(caught.value)


def test_a_binary_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no Perf Analyzer at") as caught:
        Binary.find(str(tmp_path / "perf_analyzer"))
    assert "--triton-perf-analyzer" in caught.value.hint


def write_program(folder: Path, script: str) -> str:
    path = folder / "perf_analyzer"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_binary_that_does_not_start(tmp_path: Path) -> None:
    path = write_program(tmp_path, "echo libb64.so.0d: cannot open shared object file >&2; exit 127")
    with pytest.raises(EngineError, match="does not start") as caught:
        Binary.find(path)
    assert "libb64" in caught.value.details[0]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'Thread [0] had error: no luck today' >&2; exit 99", "Perf Analyzer gave up: no luck today"),
        ("echo terminate called; exit 3", "Perf Analyzer ended with exit status 3"),
        ("kill -6 $$", "Perf Analyzer ended by signal 6"),
        ("exec sleep 60", "Perf Analyzer did not end within 0.3 s"),
    ],
)
def test_a_run_that_fails_says_why(tmp_path: Path, script: str, problem: str) -> None:
    program = Binary(write_program(tmp_path, script))
    with pytest.raises(EngineError) as caught:
        program.run([], folder=tmp_path, timeout=0.3 if "sleep" in script else 30)
    assert caught.value.problem == problem


def test_a_window_without_a_request_is_no_failure(tmp_path: Path) -> None:
    path = write_program(tmp_path, "echo 'No valid requests recorded within time interval.'; exit 3")
    assert Binary(path).run([], folder=tmp_path, timeout=30).empty


def contents(step: dict[str, Any]) -> bytes:
    return base64.b64decode(step["b64"])


def test_a_batch_is_as_many_steps() -> None:
    described = describe_inputs(Plan("", Load(batch_size=2), RequestSet.of(REQUEST)), batched=True)
    (stream,) = described["data"]
    assert [step["X"]["shape"] for step in stream] == [[3], [3]]
    assert [contents(step["X"]) for step in stream] == [row.tobytes() for row in X]


def test_a_model_that_does_not_batch_takes_the_whole_tensor() -> None:
    ((step,),) = describe_inputs(Plan("", Load(), RequestSet.of(REQUEST)), batched=False)["data"]
    assert step["X"]["shape"] == [2, 3]
    assert contents(step["X"]) == X.tobytes()


@pytest.mark.parametrize(
    ("datatype", "array", "raw"),
    [
        ("BYTES", np.array([b"ab", b""], np.object_), b"\2\0\0\0ab\0\0\0\0"),
        ("BF16", np.array([1.0], np.float32), b"\x80\x3f"),
        ("BOOL", np.array([True, False]), b"\1\0"),
        ("INT16", np.arange(4, dtype=np.int16)[::2], b"\0\0\2\0"),
    ],
)
def test_tensors_as_they_go_over_the_wire(datatype: str, array: Any, raw: bytes) -> None:
    request = Request("m", {"X": array}, {"X": datatype})
    ((step,),) = describe_inputs(Plan("", Load(), RequestSet.of(request)), batched=False)["data"]
    assert contents(step["X"]) == raw


@pytest.mark.parametrize(("length", "streams"), [(None, [3]), (4, [2, 1])])
def test_only_sequences_have_several_streams(length: int | None, streams: list[int]) -> None:
    requests = RequestSet((REQUEST, REQUEST), ((0, 1), (1,)))
    described = describe_inputs(Plan("", Load(sequence_length=length), requests), batched=False)
    assert [len(stream) for stream in described["data"]] == streams


def test_batches_of_different_shapes_are_refused() -> None:
    other = Request("echo", {"X": X[:, :1]}, {"X": "FP32"})
    with pytest.raises(EngineError, match="differ in shape"):
        describe_inputs(Plan("", Load(batch_size=2), RequestSet.of(REQUEST, other)), batched=True)


def write_export(
    path: Path, *requests: tuple[int, list[int]], boundaries: tuple[int, ...] = (0, 100, 200, 300)
) -> Path:
    entries = [{"timestamp": sent, "response_timestamps": times, "sequence_id": 7} for sent, times in requests]
    path.write_text(json.dumps({"experiments": [{"requests": entries, "window_boundaries": [0, 100, 200, 300]}]}))
    return path


def test_an_export_is_in_order_of_completion_and_without_its_first_window(tmp_path: Path) -> None:
    path = write_export(
        tmp_path / "export", (10, [90]), (150, [260]), (95, [120]), (160, [170]), (290, [310]), (280, [])
    )
    export = read_export(path, 1000, final_marks=False)

    assert (export.started_ns, export.ended_ns) == (1100, 1300)
    assert export.done.tolist() == [1120, 1170, 1260]
    assert export.sent.tolist() == [1095, 1160, 1150]
    assert export.first.tolist() == export.done.tolist()
    assert export.sequence.tolist() == [7, 7, 7]
    # Sent within, though one of them was not answered before the end.
    assert export.count_sent() == 3


@pytest.mark.parametrize(
    ("final_marks", "counts", "times"),
    [(False, [3, 1], [1110, 1120, 1130, 1140]), (True, [2, 0], [1110, 1120])],
)
def test_responses_with_and_without_a_mark_after_the_last(
    tmp_path: Path, final_marks: bool, counts: list[int], times: list[int]
) -> None:
    path = write_export(tmp_path / "export", (105, [110, 120, 130]), (105, [140]))
    export = read_export(path, 1000, final_marks=final_marks)
    assert export.responses.tolist() == counts
    assert export.response_at.tolist() == times
    assert export.first.tolist() == [1110, 1140]
    assert export.done.tolist() == [1130, 1140]


def test_an_export_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_text('{"experiments": [{"requests": [{"timestamp": 1, "response_outputs": [{"Y": ')
    with pytest.raises(BrokenExport):
        read_export(path, 0, final_marks=False)


@pytest.mark.parametrize("text", ["{}", '{"experiments": []}', '{"experiments": [{"requests": []}]}', "[]"])
def test_an_export_of_another_kind(tmp_path: Path, text: str) -> None:
    path = tmp_path / "export"
    path.write_text(text)
    with pytest.raises(EngineError, match="cannot be read"):
        read_export(path, 0, final_marks=False)
