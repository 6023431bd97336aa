"""The control plane against a real server: metadata, statistics, tensors of every kind."""

import numpy as np
import pytest
from python_models import write_echo
from serving import serve

from pytest_triton.errors import InputError, RequestError
from pytest_triton.server import EmbeddedServer
from pytest_triton.server.nvml import list_gpus

DATATYPES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 1, 255]], dtype=np.uint8),
    "INT64": np.array([[-(2**62), 0, 7]], dtype=np.int64),
    "FP16": np.array([[0.5, -2, 1024]], dtype=np.float16),
    "BF16": np.array([[1.0, -0.5, 3.140625]], dtype=np.float32),
    "FP64": np.array([[0.1, 0.2, 0.3]], dtype=np.float64),
    "BYTES": np.array([[b"one", b"", "zwölf".encode()]], dtype=np.object_),
}


@pytest.fixture(scope="module")
def typed_server(tmp_path_factory: pytest.TempPathFactory):
    """A server with one echo for all data types."""
    repository = tmp_path_factory.mktemp("typed")
    write_echo(repository, "typed", DATATYPES)
    with serve(repository, tmp_path_factory.mktemp("typed-output"), "typed") as server:
        yield server


def test_tensors_of_every_kind_come_back_as_they_went(typed_server: EmbeddedServer):
    inputs = {f"IN_{datatype}": array for datatype, array in DATATYPES.items()}
    answer = typed_server.control.infer("typed", inputs, {f"IN_{datatype}": datatype for datatype in DATATYPES})
    for datatype, sent in DATATYPES.items():
        assert answer[f"OUT_{datatype}"].dtype == sent.dtype
        assert answer[f"OUT_{datatype}"].tolist() == sent.tolist()


def test_an_array_of_another_type_is_refused(typed_server: EmbeddedServer):
    with pytest.raises(InputError, match="input 'IN_FP64' is FP64, which needs an array of float64, not int64"):
        typed_server.control.infer("typed", {"IN_FP64": np.array([[1, 2]])}, {"IN_FP64": "FP64"})


def test_a_shape_that_the_model_does_not_take_is_told(embedded_server: EmbeddedServer):
    wrong = np.zeros((1, 2, 3), dtype=np.float32)
    with pytest.raises(RequestError, match="unexpected shape for input 'X'"):
        embedded_server.control.infer("identity", {"X": wrong}, {"X": "FP32"})


def test_a_machine_without_gpu_has_no_gpu_figures(embedded_server: EmbeddedServer):
    usage = embedded_server.usage()
    assert (usage.gpu_memory is None) == (usage.gpu_memory_total is None) == (not list_gpus())
