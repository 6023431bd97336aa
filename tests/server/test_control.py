"""The control plane against a real server: metadata, statistics, tensors of every kind."""

import numpy as np
import pytest
from triton_models import write_model

from pytest_triton.errors import InputError, RequestError
from pytest_triton.server import EmbeddedServer

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
    """A server with one echo for all data types: each input comes back as the output of the same number."""
    repository = tmp_path_factory.mktemp("typed")
    tensors = "".join(
        f'input [ {{ name: "{name}" data_type: TYPE_{name.replace("BYTES", "STRING")} dims: [ -1 ] }} ]\n'
        f'output [ {{ name: "{name}_OUT" data_type: TYPE_{name.replace("BYTES", "STRING")} dims: [ -1 ] }} ]\n'
        for name in DATATYPES
    )
    folder = write_model(repository, "typed", configuration=f'backend: "python"\nmax_batch_size: 8\n{tensors}')
    (folder / "1" / "model.py").write_text(
        "import triton_python_backend_utils as pb_utils\n"
        "class TritonPythonModel:\n"
        "    def execute(self, requests):\n"
        "        return [pb_utils.InferenceResponse([\n"
        "            pb_utils.Tensor.from_dlpack(t.name() + '_OUT', t.to_dlpack()) if t.name() == 'BF16'\n"
        "            else pb_utils.Tensor(t.name() + '_OUT', t.as_numpy()) for t in request.inputs()\n"
        "        ]) for request in requests]\n"
    )
    server = EmbeddedServer(repository, output=tmp_path_factory.mktemp("typed-output"))
    server.start()
    try:
        server.control.load("typed")
        yield server
    finally:
        server.stop()


def test_tensors_of_every_kind_come_back_as_they_went(typed_server: EmbeddedServer):
    answer = typed_server.control.infer("typed", DATATYPES, {name: name for name in DATATYPES})
    for name, sent in DATATYPES.items():
        assert answer[f"{name}_OUT"].dtype == sent.dtype
        assert answer[f"{name}_OUT"].tolist() == sent.tolist()


def test_an_array_of_another_type_is_refused(typed_server: EmbeddedServer):
    with pytest.raises(InputError, match="input 'FP64' is FP64, which needs an array of float64, not int64"):
        typed_server.control.infer("typed", {"FP64": np.array([[1, 2]])}, {"FP64": "FP64"})


def test_a_shape_that_the_model_does_not_take_is_told(embedded_server: EmbeddedServer):
    wrong = np.zeros((1, 2, 3), dtype=np.float32)
    with pytest.raises(RequestError, match="unexpected shape for input 'X'"):
        embedded_server.control.infer("identity", {"X": wrong}, {"X": "FP32"})


def test_metadata_and_configuration_describe_the_model(embedded_server: EmbeddedServer):
    metadata = embedded_server.control.metadata("identity")
    assert [each["name"] for each in metadata["inputs"]] == ["X"]
    configuration = embedded_server.control.configuration("identity")
    assert configuration.name == "identity"
    assert configuration.max_batch_size == 8
    assert configuration.HasField("dynamic_batching")


def test_statistics_count_what_was_sent(embedded_server: EmbeddedServer, send):
    before = embedded_server.control.statistics("identity")
    send(embedded_server.control, "identity")
    send(embedded_server.control, "identity")
    since = embedded_server.control.statistics("identity").since(before)
    assert (since.success_count, since.inference_count, since.execution_count) == (2, 2, 2)
    assert 0 < since.compute_infer_ns < since.success_ns


def test_index_lists_loaded_and_unloaded_models(embedded_server: EmbeddedServer):
    states = {entry["name"]: entry.get("state") for entry in embedded_server.control.index()}
    assert states["identity"] == "READY"
    assert "corrupt" in states


def test_questions_about_an_unknown_model_are_refused(embedded_server: EmbeddedServer):
    assert not embedded_server.control.model_ready("nobody")
    for ask in (
        embedded_server.control.configuration,
        embedded_server.control.metadata,
        embedded_server.control.statistics,
    ):
        with pytest.raises(RequestError, match="nobody"):
            ask("nobody")


def test_a_machine_without_gpu_has_no_gpu_figures(embedded_server: EmbeddedServer):
    figures = embedded_server.control.gpu_figures()
    assert (figures.memory is None) == (figures.utilization is None)
