"""What ``triton_input`` may say, and how its data reaches the model."""

import json

import numpy as np
import pytest
from python_models import write_model

BAD = [
    ("seed=-1", "seed=-1", "at least 0"),
    ("count=0", "count=0", "at least 1"),
    ('validate="some"', "validate='some'", "'sample'"),
    ("data=3", "data=3 is no path", "'zero'"),
    ('shape={"X": [(5, 3)]}', "shape of 'X' is [(5, 3)]", "pair (low, high)"),
    ('shape={"X": [(1, 2, 3)]}', "shape of 'X' is [(1, 2, 3)]", "pair (low, high)"),
    ('shape={"X": [[1, 2]]}', "shape of 'X' is [[1, 2]]", "pair (low, high)"),
]


@pytest.mark.parametrize(("arguments", "problem", "way_out"), BAD, ids=[arguments for arguments, *_ in BAD])
def test_what_cannot_be_meant_is_told_at_collection(run, arguments, problem, way_out):
    result = run(
        f"@pytest.mark.triton_input({arguments})\ndef test_it(triton_perf):\n    triton_perf()\n", "--collect-only"
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert f"triton_input: {problem}" in result.stdout.str()
    assert way_out in result.stdout.str()


def test_data_is_found_beside_the_test(run, repository):
    folder = write_model(repository, "free", dims="[ -1 ]")
    np.savez(folder / "samples.npz", X=np.arange(6, dtype=np.float32).reshape(3, 2))
    (folder / "raw").mkdir()
    (folder / "raw" / "X").write_bytes(np.arange(3, dtype="<f4").tobytes())
    (folder / "right.json").write_text(json.dumps({"data": [{"X": [1, 2]}], "validation_data": [{"Y": [1, 2]}]}))
    (folder / "wrong.json").write_text(json.dumps({"data": [{"X": [1, 2]}], "validation_data": [{"Y": [1, 3]}]}))
    result = run(
        """
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.triton_input(data=name, validate="sample"))
    for name in ["samples.npz", "raw", "right.json", "wrong.json", "missing.npz"]
])
def test_it(triton_perf, name):
    triton_perf()

@pytest.mark.triton_input(shape={"X": [(1, 9)]}, data="zero", count=4)
def test_zeros(triton_perf):
    triton_perf()
""",
        "--triton-smoke",
        folder=folder,
    )
    assert result.parseoutcomes() == {"passed": 4, "errors": 2}
    result.stdout.fnmatch_lines(
        [
            "*WrongOutputs: free: wrong outputs: output 'Y' differs most at [[]0, 1[]]: 2.0, expected 3.0 (*",
            "*InputError: input data cannot be read from */free/missing.npz: No such file or directory",
        ]
    )
