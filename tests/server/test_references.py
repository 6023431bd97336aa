"""What outputs are compared with: the default configuration, an ONNX file, a function; and how far they may be off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from python_models import write_echo, write_model, write_repeat
from serving import serve

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.deployment import Deployer
from pytest_triton.errors import UnusableReference
from pytest_triton.reference import make_reference
from pytest_triton.search.objective import objectives
from pytest_triton.search.settings import Settings
from pytest_triton.server import EmbeddedServer
from pytest_triton.verification import WrongOutputs

SCALED = """factor = float(__import__("json").loads(self.config)["parameters"].get("factor", {}).get("string_value", 1))
        return [pb_utils.InferenceResponse([pb_utils.Tensor(
            "Y", (factor * pb_utils.get_input_tensor_by_name(each, "X").as_numpy()).astype("float32"))])
            for each in requests]"""
RANDOM = """import numpy
        return [pb_utils.InferenceResponse([pb_utils.Tensor(
            "Y", numpy.random.random(pb_utils.get_input_tensor_by_name(each, "X").as_numpy().shape).astype("float32"))])
            for each in requests]"""
INPUTS = Inputs({"X": (4,)}, count=2)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Triton with ``scaled`` (by its parameter ``factor``), ``random``, the decoupled ``repeat``, and ``echo``."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "scaled", initialize='self.config = args["model_config"]', execute=SCALED)
    write_model(repository, "random", execute=RANDOM)
    write_repeat(repository, "repeat", mark_last=True)
    write_echo(repository, "echo", ["BF16", "BYTES", "INT8"])
    with serve(repository, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def deployer(triton: EmbeddedServer) -> Deployer:
    return Deployer(triton)


def write_onnx(path: Path, name: str = "X", shape: Any = ("batch", "size")) -> Path:
    """Write an ONNX file that gives back its FP32 input as Y."""
    tensors = [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in (name, "Y")]
    graph = helper.make_graph([helper.make_node("Identity", [name], ["Y"])], "identity", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def verify(
    deployer: Deployer, model: str, patch: Any = (), *, inputs: Inputs = INPUTS, batch_size: int = 1, **settings: Any
) -> None:
    """Compare what ``model`` with ``patch`` answers with the reference."""
    case = Case(Candidate(model, dict(patch)), Load(batch_size=batch_size), inputs)
    reference = make_reference(deployer, case, Settings(objectives("throughput"), **settings))
    deployer.prepare(deployer.deploy(case.candidate), case, reference)


def scaled_by(factor: float) -> dict[str, str]:
    return {"parameters.factor": str(factor)}


def same(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"Y": inputs["X"]}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("reference", [None, same, "model.onnx"])
def test_a_little_off_is_right_and_a_lot_is_wrong(
    deployer: Deployer, tmp_path: Path, reference: Any, batch_size: int
) -> None:
    if isinstance(reference, str):
        reference = write_onnx(tmp_path / reference)
    verify(deployer, "scaled", scaled_by(1.0001), reference=reference, batch_size=batch_size)
    origin = {None: "", same: ", going by reference=same"}.get(reference, ", going by reference=model.onnx")
    told = (
        f"scaled: wrong outputs{re.escape(origin)}: "
        r"output 'Y' differs most at \[[\d, ]+\]: \S+, expected \S+ \(relative 25 %, allowed 0\.1 %\); "
        rf"{4 * batch_size} of {4 * batch_size} elements differ \(request 1 of 2\)"
    )
    data = {"X": np.arange(1, 8 * batch_size + 1, dtype=np.float32).reshape(2, batch_size, 4)}
    with pytest.raises(WrongOutputs, match=told):
        verify(
            deployer,
            "scaled",
            scaled_by(1.25),
            reference=reference,
            batch_size=batch_size,
            inputs=Inputs({"X": (4,)}, data),
        )


def test_a_tolerance_goes_before_the_usual_one(deployer: Deployer) -> None:
    verify(deployer, "scaled", scaled_by(1.25), tolerance={"FP32": (0.3, 0.0)})
    with pytest.raises(WrongOutputs, match=r"relative 0\.0"):
        verify(deployer, "scaled", scaled_by(1.0001), tolerance={"FP32": (1e-6, 0.0)})


def test_a_configuration_that_does_not_batch_may_give_the_same_outputs(deployer: Deployer) -> None:
    verify(deployer, "scaled", {"max_batch_size": 0, "dynamic_batching": None})


def test_random_outputs_cannot_be_compared(deployer: Deployer) -> None:
    with pytest.raises(UnusableReference, match=r"does not answer the same request alike twice.*output 'Y'") as caught:
        verify(deployer, "random")
    assert "tolerance=" in caught.value.hint
    verify(deployer, "random", tolerance={"FP32": (0.0, 1.0)})


def test_a_function_may_do_to_its_inputs_what_it_likes(deployer: Deployer) -> None:
    def spoiling(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = {"Y": inputs["X"].tolist()}
        inputs["X"] += 1
        return outputs

    verify(deployer, "scaled", reference=spoiling)


def raising(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"Y": inputs["Z"]}


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (raising, "reference=raising raised KeyError: 'Z'"),
        (lambda inputs: None, "returned nothing, and no outputs by name"),
        (lambda inputs: {}, "returned an empty dict"),
        (lambda inputs: {"y": inputs["X"]}, "returned 'y', which is no output of the model"),
        (
            lambda inputs: {"Y": inputs["X"][0]},
            "does not fit the model: output 'Y' has shape [4], declared is [-1, -1]",
        ),
        (
            lambda inputs: {"Y": ["a"]},
            "returned for 'Y' what cannot be compared: an array of <U1 where the model has FP32",
        ),
        (lambda inputs: {"Y": [[1], [1, 2]]}, "returned for 'Y' what cannot be compared: list is no array"),
    ],
)
def test_a_function_without_an_answer_says_why(deployer: Deployer, reference: Any, told: str) -> None:
    with pytest.raises(UnusableReference, match=re.escape(told)) as caught:
        verify(deployer, "scaled", reference=reference)
    if reference is raising:
        assert 'return {"Y": inputs["Z"]}' in caught.value.details[0]


def test_an_onnx_file_that_does_not_fit_says_why(deployer: Deployer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    for path, told in [
        (broken, "reference=broken.onnx cannot be opened: "),
        (write_onnx(tmp_path / "other.onnx", "A"), "takes other inputs than the model: A, not X"),
        (write_onnx(tmp_path / "fixed.onnx", shape=(1, 4)), "takes 'X' of shape [1, 4], and the requests have [3, 4]"),
        (write_onnx(tmp_path / "flat.onnx", shape=(4,)), "takes 'X' of shape [4], and the requests have [3, 4]"),
    ]:
        with pytest.raises(UnusableReference, match=re.escape(told)):
            verify(deployer, "scaled", reference=path, batch_size=3)


def test_of_a_decoupled_model_a_function_says_what_the_first_response_is(deployer: Deployer) -> None:
    inputs = Inputs({"X": (2,)}, {"X": np.array([3, 1], np.float32)})
    verify(deployer, "repeat", inputs=inputs)
    verify(deployer, "repeat", inputs=inputs, reference=same)
    with pytest.raises(WrongOutputs, match=re.escape("output 'Y[0]' differs most at [0]: 3.0, expected 4.0")):
        verify(deployer, "repeat", inputs=inputs, reference=lambda inputs: {"Y": inputs["X"] + 1})


@pytest.mark.parametrize("size", [3, 0])
def test_strings_and_short_floats_are_compared_as_what_they_are(deployer: Deployer, size: int) -> None:
    def echo(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "OUT_BYTES": inputs["IN_BYTES"].astype(str) if size else inputs["IN_BYTES"],
            "OUT_BF16": inputs["IN_BF16"].astype(np.float64) * 1.01,
            "OUT_INT8": inputs["IN_INT8"] + 1,
        }

    inputs = Inputs({f"IN_{datatype}": (size,) for datatype in ("BF16", "BYTES", "INT8")})
    verify(deployer, "echo", inputs=inputs, reference=echo, tolerance={"INT8": (0.0, 1.0)})
    if size:
        with pytest.raises(WrongOutputs, match=r"'OUT_INT8' differs .* \(by 1, allowed 0\); 3 of 3 elements differ"):
            verify(deployer, "echo", inputs=inputs, reference=echo)
