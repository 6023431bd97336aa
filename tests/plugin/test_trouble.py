"""What bad input and bad luck get: a message that names the thing and the way out, and nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from python_models import write_model

PERF = "def test_it(triton_perf):\n    triton_perf()\n"


COMPLETE = """
import pytest

@pytest.fixture(scope="module")
def triton_server_args():
    return []
"""


def write_test(folder: Path, text: str = PERF) -> Path:
    path = folder / f"test_{folder.name}.py"
    path.write_text("import pytest\n\n" + text)
    return path


def test_no_such_repository(run):
    result = run(PERF, "--triton-repository=modles")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no model repository*modles*", "*--triton-repository*"])


def test_no_such_model(run):
    result = run('@pytest.mark.triton_model("identty")\n' + PERF)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no model 'identty'*", "*did you mean 'identity'?*"])


def test_no_versions(run, repository):
    shutil.rmtree(repository / "identity" / "1")
    result = run(PERF)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the model 'identity' has no version*"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('input [ { name: "X" dims: }', ["*ConfigurationError: */identity/config.pbtxt:3:27: *", "*dims: }"]),
        (
            "max_batch_sise: 8",
            ["*ConfigurationError: */config.pbtxt:3:1: *'max_batch_sise'", "*did you mean 'max_batch_size'?*"],
        ),
    ],
)
def test_bad_config_pbtxt(run, repository, line, told):
    (repository / "identity" / "config.pbtxt").write_text(f'name: "identity"\nbackend: "python"\n{line}\n')
    result = run(PERF)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(told)


def test_corrupt_model_file(run, repository, pytester):
    folder = repository / "broken"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"this is no model")
    (folder / "conftest.py").write_text(COMPLETE)
    result = run(PERF, folder=folder)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ModelLoadError: *'broken'*/broken/1/model.onnx*"])


def test_backend_that_the_embedded_server_lacks(run, repository):
    (repository / "identity" / "config.pbtxt").write_text('platform: "tensorrt_plan"\nmax_batch_size: 1\n')
    result = run(PERF, "--triton-server=embedded")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*tensorrt*", "*onnxruntime*python*"])


@pytest.mark.parametrize(
    ("execute", "told"),
    [
        ('raise ValueError("out of order")', "*RequestError: *out of order*"),
        ("return [pb_utils.InferenceResponse([]) for each in requests]", "*"),
        (
            """import numpy
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", numpy.ones((1, 3), "float32"))]) for each in requests]
        """,
            "*WrongOutputs: broken: wrong outputs: output 'Y' has shape [[]1, 3[]], declared is [[]-1, 2[]]",
        ),
        ("import os; os._exit(3)", "*"),
    ],
    ids=["raises", "returns nothing", "returns another shape", "kills its process"],
)
def test_broken_model(run, repository, execute, told):
    write_model(repository, "broken", execute=execute, dims="[ 2 ]")
    write_test(repository / "identity")
    result = run(PERF, "--triton-smoke", folder=repository / "broken")
    # The model beside it is measured all the same.
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([told, "*model: broken"])


def test_model_that_breaks_under_load_is_an_error_with_the_reason(run, repository):
    execute = """self.count = getattr(self, "count", 0) + 1
        if self.count > 3:
            raise ValueError("tired")"""
    write_model(repository, "tired", execute=execute, dims="[ 2 ]")
    result = run(PERF, "--triton-json=found.json", "--triton-smoke", folder=repository / "tired")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*MeasurementError: tired: the measurement is not valid: none of * succeeded*tired*"])


def test_taken_port(run):
    with __import__("socket").socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(
            f"""
@pytest.fixture(scope="module")
def triton_server_args():
    return ["--http-port={port}"]

{PERF}"""
        )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{port}*"])


def test_server_interpreter_that_is_none(run, pytester):
    pytester.makeini("[pytest]\ntriton_embedded_python = /no/such/python\n")
    result = run(PERF, "--triton-server=embedded")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ServerUnavailable: */no/such/python*"])


def test_unknown_server_kind(run):
    result = run(PERF, "--triton-server=embeded")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--triton-server=embeded is no kind of server*", "*did you mean 'embedded'?*"])


def test_output_folder_that_cannot_be_written(run, pytester):
    (pytester.path / "file").write_text("in the way")
    result = run(PERF, "--triton-output=file/below")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cannot write to the output folder*", "*--triton-output*"])


def test_full_disk_loses_nothing_that_was_measured(run, pytester):
    """Records go to a device that is always full; the run still says what it measured, and does not exit with 0."""
    output = pytester.mkdir("out")
    (output / "results.db").symlink_to("/dev/full")
    result = run(PERF, "--triton-smoke", "--triton-output=out", "--triton-json=/dev/full/found.json")
    assert result.parseoutcomes() == {"passed": 1}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["  Concurrency: 1, throughput: *", "triton: cannot write the store *", "triton: cannot write */found.json*"]
    )


def test_killed_server_is_an_error_and_the_next_test_gets_another(run):
    result = run(
        """
import os, signal, threading, time

def kill_under_load(server):
    while server.control.statistics("identity").success_count < 50:
        time.sleep(0.05)
    os.kill(server.pid, signal.SIGKILL)

def test_first(triton_perf, triton_client, triton_server):
    threading.Thread(target=kill_under_load, args=(triton_server,), daemon=True).start()
    triton_perf()

def test_second(triton_perf):
    triton_perf()
"""
    )
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ServerDied: the embedded server died*", "*server.log*"])
