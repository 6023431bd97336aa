"""Requests of every kind as a real Triton answers them before a load, and in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from python_models import write_echo
from serving import serve, settled_statistics

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.deployment import Deployer
from pytest_triton.errors import RequestError
from pytest_triton.load import Plan, WireEngine
from pytest_triton.observation import OK
from pytest_triton.server import EmbeddedServer
from pytest_triton.verification import Reference, Verified, WrongOutputs

DATATYPES = "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FP16 BF16 FP32 FP64 BYTES".split()  # noqa: SIM905

COUNTING = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        value = lambda name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        known = value("ID").item()
        if value("START").item():
            self.sums[known] = 0
        self.sums[known] += int(value("X").sum()) * json.loads(request.parameters()).get("times", 1)
        total = np.full((1, 1), self.sums[known], np.int32)
        if value("END").item():
            del self.sums[known]
        open_sequences = np.full((1, 1), len(self.sums), np.int32)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("SUM", total), pb_utils.Tensor("OPEN", open_sequences)]
        )
"""
SEQUENCES = """
backend: "python"
max_batch_size: 4
sequence_batching {{
  control_input [
    {{ name: "START" control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }} ] }},
    {{ name: "END" control [ {{ kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] }} ] }},
    {{ name: "ID" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: {kind} }} ] }}
  ]
}}
input [ {{ name: "X" data_type: TYPE_INT32 dims: [ 2 ] }} ]
output [ {{ name: "SUM" data_type: TYPE_INT32 dims: [ 1 ] }}, {{ name: "OPEN" data_type: TYPE_INT32 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
COUNTDOWN = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            start = int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy().item())
            if start < 0:
                refusal = pb_utils.InferenceResponse(error=pb_utils.TritonError("below zero"))
                sender.send(refusal, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            for value in range(start, 0, -1):
                tensor = pb_utils.Tensor("Y", np.full((1,), value, np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
DECOUPLED = """
backend: "python"
model_transaction_policy { decoupled: true }
input [ { name: "X" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""


def write(folder: Path, configuration: str, code: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(configuration)
    (folder / "1" / "model.py").write_text(code)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Triton with ``echo`` of every data type, two models with sequences, and the decoupled ``countdown``."""
    repository = tmp_path_factory.mktemp("repository")
    write_echo(repository, "echo", DATATYPES)
    write(repository / "numbered", SEQUENCES.format(kind="TYPE_UINT64"), COUNTING)
    write(repository / "named", SEQUENCES.format(kind="TYPE_STRING"), COUNTING)
    write(repository / "countdown", DECOUPLED, COUNTDOWN)
    with serve(repository, tmp_path_factory.mktemp("server")) as server:
        yield server


def prepare(
    triton: EmbeddedServer, model: str, inputs: Inputs, *, reference: Reference | None = None, **load: Any
) -> Verified:
    deployer = Deployer(triton)
    case = Case(Candidate(model), Load(**load), inputs)
    return deployer.prepare(deployer.deploy(case.candidate), case, reference)


def echo_inputs(size: Any, **said: Any) -> Inputs:
    return Inputs(shapes={f"IN_{datatype}": (size,) for datatype in DATATYPES}, **said)


@pytest.mark.parametrize(("size", "batch_size", "count"), [(5, 1, 1), (7, 3, 4), ((1, 9), 8, 5), (0, 2, 1)])
def test_every_data_type_comes_back_as_it_was_sent(
    triton: EmbeddedServer, size: Any, batch_size: int, count: int
) -> None:
    verified = prepare(
        triton, "echo", echo_inputs(size, count=count, seed=3, validate="all"), batch_size=batch_size, concurrency=2
    )
    requests = verified.requests.requests
    assert len(requests) == count
    assert verified.requests.streams == (tuple(range(count)),)
    for index, request in enumerate(requests):
        for datatype in DATATYPES:
            sent, got = request.inputs[f"IN_{datatype}"], verified.answers[index][f"OUT_{datatype}"]
            assert got.shape == sent.shape == (batch_size, sent.shape[1])
            assert got.tolist() == sent.tolist()
        assert request.expected is not None
        assert set(request.expected) == {f"OUT_{datatype}" for datatype in DATATYPES}
    assert len({request.inputs["IN_INT64"].tobytes() for request in requests}) == count

    protocols: tuple[Literal["http", "grpc"], ...] = ("http", "grpc")
    for protocol in protocols:
        load = Load(concurrency=2, protocol=protocol)
        plan = Plan(triton.endpoints.address(protocol), load, verified.requests, validate="all")
        with WireEngine().open(plan) as session:
            session.start()
            traces = [session.collect(seconds=0, requests=2 * count, limit=30), session.stop()]
        assert sum(map(len, traces)) >= 2 * count
        assert all((trace.status == OK).all() for trace in traces), (protocol, [trace.reasons for trace in traces])


def test_many_requests_are_sampled_unless_every_one_must_be_known(triton: EmbeddedServer) -> None:
    assert list(prepare(triton, "echo", echo_inputs(2, count=40)).answers) == [i * 40 // 16 for i in range(16)]
    known = prepare(triton, "echo", echo_inputs(2, count=40, validate="sample"))
    assert list(known.answers) == list(range(40))
    assert all(request.expected is not None for request in known.requests.requests)


def test_an_answer_that_is_not_the_expected_one_is_told(triton: EmbeddedServer, tmp_path: Path) -> None:
    sizes = {f"IN_{datatype}": (2,) for datatype in DATATYPES}
    right = {"IN_BF16": np.float32([[1, 2], [3, 4]]), "OUT_BF16": np.float32([[1, 2], [3, 4.02]])}
    assert prepare(triton, "echo", Inputs(shapes=sizes, data=right)).answers[1]["OUT_BF16"].tolist() == [[3, 4]]
    wrong = {**right, "OUT_BF16": np.float32([[1, 2], [3, 5]])}
    with pytest.raises(WrongOutputs, match=r"echo: wrong outputs: output 'OUT_BF16' differs .*\(request 2 of 2\)"):
        prepare(triton, "echo", Inputs(shapes=sizes, data=wrong))
    with pytest.raises(WrongOutputs, match="'OUT_INT8' differs most"):
        prepare(triton, "echo", echo_inputs(1), reference=Reference({0: {"OUT_INT8": np.full((1, 1), 99, np.int8)}}))


@pytest.mark.parametrize("model", ["numbered", "named"])
def test_each_stream_is_a_sequence_of_its_own(triton: EmbeddedServer, tmp_path: Path, model: str) -> None:
    streams = [
        [{"X": [1, 1]}, {"X": [2, 3], "parameters": {"times": 10}}, {"X": [0, 1]}],
        [{"X": [4, 4]}],
    ]
    (tmp_path / "data.json").write_text(json.dumps({"data": streams}))
    verified = prepare(triton, model, Inputs(data=tmp_path / "data.json", validate="all"), sequence_length=3)
    assert verified.requests.streams == ((0, 1, 2), (3,))
    assert {index: answer["SUM"].item() for index, answer in verified.answers.items()} == {0: 2, 1: 52, 2: 53, 3: 8}
    # What a sequence answers depends on where it stands, so that nothing can be expected of a request alone.
    assert all(request.expected is None for request in verified.requests.requests)
    # And no sequence is left open, whether the load has sequences or not.
    assert prepare(triton, model, Inputs()).answers[0]["OPEN"].item() == 0


def test_a_decoupled_model_is_asked_over_grpc(triton: EmbeddedServer) -> None:
    inputs = Inputs(data={"X": np.array([[3], [0], [1]], dtype=np.int32)})
    answers = prepare(triton, "countdown", inputs).answers
    assert {index: {name: array.tolist() for name, array in each.items()} for index, each in answers.items()} == {
        0: {"Y[0]": [3], "Y[1]": [2], "Y[2]": [1]},
        1: {},
        2: {"Y[0]": [1]},
    }
    assert prepare(triton, "countdown", inputs, reference=Reference(answers)).answers.keys() == answers.keys()
    with pytest.raises(WrongOutputs, match=r"output 'Y\[1\]' differs most at \[0\]"):
        prepare(triton, "countdown", inputs, reference=Reference({0: {"Y[1]": np.array([9], dtype=np.int32)}}))
    with pytest.raises(RequestError, match="countdown answered a request with an error: below zero"):
        prepare(triton, "countdown", Inputs(data={"X": -1}))


def test_what_was_checked_is_asked_once_more_only(triton: EmbeddedServer) -> None:
    deployer = Deployer(triton)
    case = Case(Candidate("echo"), Load(), echo_inputs(2, count=5))
    deployment = deployer.deploy(case.candidate)
    first = deployer.prepare(deployment, case)
    before = settled_statistics(triton.control, "echo")
    assert deployer.prepare(deployment, case) is first
    assert deployer.prepare(deployment, Case(case.candidate, Load(batch_size=2), case.inputs)) is not first
    assert settled_statistics(triton.control, "echo").since(before).success_count == 1 + 5
