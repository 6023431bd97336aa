"""Models on the embedded server: loaded, changed, refused, asked, and out of order."""

import pytest

from pytest_triton.errors import ModelLoadError, RequestError
from pytest_triton.server import EmbeddedServer


def test_identity_answers_what_it_was_asked(embedded_server: EmbeddedServer, send):
    assert send(embedded_server.control, "identity").tolist() == [[1, 2, 3]]


def test_instances_are_added_in_place(embedded_server: EmbeddedServer, send):
    control = embedded_server.control
    send(control, "identity")
    before = control.statistics("identity").inference_count
    configuration = control.configuration("identity")
    configuration.instance_group[0].count = 2
    control.load("identity", configuration)
    assert control.configuration("identity").instance_group[0].count == 2
    # A reload would have begun the statistics anew.
    assert before > 0
    assert control.statistics("identity").inference_count == before


def test_refused_configuration_leaves_the_previous_one_serving(embedded_server: EmbeddedServer, send):
    control = embedded_server.control
    applied = control.configuration("identity")
    impossible = control.configuration("identity")
    impossible.input[0].dims[0] = -7
    with pytest.raises(ModelLoadError, match="dimension must be integer >= 1"):
        control.load("identity", impossible)
    assert send(control, "identity").tolist() == [[1, 2, 3]]
    assert control.configuration("identity") == applied


def test_model_that_raises_answers_with_its_message(embedded_server: EmbeddedServer, send):
    embedded_server.control.load("raising")
    with pytest.raises(RequestError, match="ValueError: the model is out of order") as caught:
        send(embedded_server.control, "raising")
    assert any("model.py" in line for line in caught.value.details)


def test_model_that_ends_its_process_does_not_end_the_server(embedded_server: EmbeddedServer, send):
    embedded_server.control.load("dying")
    with pytest.raises(RequestError, match="not healthy") as caught:
        send(embedded_server.control, "dying")
    assert "Load the model anew" in caught.value.hint
    embedded_server.check()
    assert send(embedded_server.control, "identity").tolist() == [[1, 2, 3]]


def test_corrupt_configuration_is_told_with_line_and_column(embedded_server: EmbeddedServer):
    with pytest.raises(ModelLoadError, match=r"config\.pbtxt:2:\d+") as caught:
        embedded_server.control.load("corrupt")
    assert caught.value.model == "corrupt"


def test_unknown_model_is_told(embedded_server: EmbeddedServer):
    with pytest.raises(ModelLoadError, match="model not found"):
        embedded_server.control.load("nobody")


def test_missing_backend_names_the_servers_that_have_it(embedded_server: EmbeddedServer):
    configuration = embedded_server.control.configuration("identity")
    configuration.backend, configuration.platform = "tensorrt", "tensorrt_plan"
    with pytest.raises(ModelLoadError, match="tensorrt") as caught:
        embedded_server.control.load("raising", configuration)
    assert "--triton-server=local" in caught.value.hint


def test_alias_runs_a_second_configuration_beside_the_first(embedded_server: EmbeddedServer, send):
    control = embedded_server.control
    alias = embedded_server.alias("identity")
    assert alias is not None
    assert alias == embedded_server.alias("identity")
    configuration = control.configuration("identity")
    configuration.max_batch_size = 3
    configuration.dynamic_batching.ClearField("preferred_batch_size")
    control.load(alias, configuration)
    assert send(control, alias).tolist() == [[1, 2, 3]]
    assert control.configuration(alias).max_batch_size == 3
    assert control.configuration("identity").max_batch_size == 8
    control.unload(alias)
    assert not control.model_ready(alias)


def test_a_model_that_is_not_there_has_no_alias(embedded_server: EmbeddedServer):
    assert embedded_server.alias("nobody") is None
