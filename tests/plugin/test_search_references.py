"""What a search's candidates are compared with, as a user writes it, and what the terminal says of it."""

from __future__ import annotations

from python_models import write_model

RANDOM = """import numpy
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", numpy.random.random((1, 2)).astype("float32"))])
            for each in requests]"""
OFF = """params = __import__("json").loads(self.config)["parameters"]
        off = float(params.get("off", {}).get("string_value", 0))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y",
            pb_utils.get_input_tensor_by_name(each, "X").as_numpy() + numpy.float32(off))]) for each in requests]"""


def test_outputs_that_are_random_are_said_to_be_once(run, repository):
    folder = write_model(repository, "dice", execute=RANDOM, dims="[ 2 ]")
    result = run(
        """
@pytest.mark.triton_search({"instance_group.count": [1, 2, 3]})
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
        "-rs",
        folder=folder,
    )
    outcomes = result.parseoutcomes()
    assert (outcomes["errors"], outcomes["skipped"]) == (1, 2)
    result.stdout.fnmatch_lines(
        [
            "*dice: the default configuration does not answer the same request alike twice, so no outputs can be "
            "compared: output 'Y' differs most at *",
            "*tolerance=*",
            "SKIPPED*there is nothing to compare its outputs with, as the error before says",
        ]
    )


def test_a_tolerance_holds_while_the_load_runs_too(run, repository):
    folder = write_model(repository, "dice", execute=RANDOM, dims="[ 2 ]")
    result = run(
        """
@pytest.mark.triton_search({"instance_group.count": [1, 2]}, tolerance={"FP32": (0, 1)})
@pytest.mark.triton_input(validate="all")
@pytest.mark.triton_slo(error_rate="0%")
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
        "--triton-json=found.json",
        folder=folder,
    )
    result.assert_outcomes(passed=3)
    assert '"verdict": "PASS"' in (folder.parent.parent / "found.json").read_text()


def test_a_function_and_a_tolerance_say_who_is_wrong(run, repository):
    folder = write_model(
        repository, "off", initialize='self.config = args["model_config"]', execute=f"import numpy; {OFF}", dims="[ 2 ]"
    )
    result = run(
        """
def twice(inputs):
    return {"Y": 2 * inputs["X"]}

@pytest.mark.triton_search({"parameters.off": ["0.9", "1.5"]}, reference=twice, tolerance={"FP32": (0, 0.2)})
@pytest.mark.triton_input(data={"X": 1})
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
        folder=folder,
    )
    assert result.parseoutcomes() == {"passed": 2, "disqualified": 1}
    result.stdout.fnmatch_lines(
        [
            "*disqualified: off: wrong outputs, going by reference=twice: output 'Y' differs most at *: 2.5, "
            "expected 2.0 (by 0.5, allowed 0.2); 2 of 2 elements differ*"
        ]
    )
