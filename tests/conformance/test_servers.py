"""What every kind of server does: one suite for all."""

from __future__ import annotations

import compileall
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from leftovers import family, name_of, things_of, wait_for_end
from python_models import write_model
from server_kinds import KINDS, Serve, Serving
from serving import settled_statistics

from pytest_triton.case import Candidate, Case, Inputs, Load
from pytest_triton.errors import LoadNotAllowed, ModelLoadError, RequestError, ServerDied, ServerUnavailable
from pytest_triton.protocol import SMOKE, measure
from pytest_triton.repository.configuration import read
from pytest_triton.server.base import Control
from pytest_triton.server.process import ChildServer
from pytest_triton.server.transport import ask


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: ``identity`` and ``another`` (FP32, batching), ``raising`` (in ``execute``), ``corrupt``."""
    folder = tmp_path_factory.mktemp("repository")
    write_model(folder, "identity")
    write_model(folder, "another")
    write_model(folder, "raising", execute='raise ValueError("the model is out of order")')
    write_model(folder, "corrupt", configuration='backend: "python"\ninput [ {{ name: 7 }} ]\n')
    # A local server caches a model's code beside it, when it loads it first, and then takes the model for changed.
    compileall.compile_dir(folder, quiet=2)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def serving(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A server of each kind, which one test after the other uses."""
    serve: Serve = request.param
    with serve(repository, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def control(serving: Serving) -> Control:
    """Its control plane; with ``identity`` loaded as its config.pbtxt has it, where it is not served anyway."""
    if serving.controlled:
        serving.server.control.load("identity")
    return serving.server.control


def send(control: Control, model: str = "identity") -> list[object]:
    """Send ``[[1, 2, 3]]`` and return what came back."""
    values = np.array([[1, 2, 3]], dtype=np.float32)
    answer: list[object] = control.infer(model, {"X": values}, {"X": "FP32"})["Y"].tolist()
    return answer


def require_control(serving: Serving) -> None:
    if not serving.controlled:
        pytest.skip("it loads no models for us")


def test_it_is_ready_and_says_what_it_is(serving: Serving) -> None:
    server = serving.server
    assert server.control.server_live()
    assert server.control.server_ready()
    version = server.control.server_metadata()["version"]
    assert server.description.startswith(f"{server.kind} Triton {version}")
    assert (server.repository is None) == (not serving.ours)
    assert server.completes == (not serving.ours)
    server.check()


def test_a_model_describes_itself_and_answers(serving: Serving, control: Control) -> None:
    assert send(control) == [[1, 2, 3]]
    assert control.model_ready("identity")
    assert not control.model_ready("nobody")
    metadata = control.metadata("identity")
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [("X", "FP32", [-1, -1])]
    assert control.configuration("identity").max_batch_size == 8
    assert ("identity", "READY") in {(entry["name"], entry.get("state")) for entry in control.index()}


def test_statistics_count_what_was_sent(serving: Serving, control: Control) -> None:
    before = settled_statistics(control, "identity")
    send(control)
    send(control)
    since = settled_statistics(control, "identity").since(before)
    assert (since.success_count, since.inference_count, since.execution_count) == (2, 2, 2)
    assert 0 < since.compute_infer_ns < since.success_ns
    assert control.all_statistics()["identity"] == control.statistics("identity")


def test_questions_about_an_unknown_model_are_refused(serving: Serving) -> None:
    control = serving.server.control
    for question in (control.configuration, control.metadata, control.statistics):
        with pytest.raises(RequestError, match="nobody"):
            question("nobody")


def test_a_case_is_measured_over_each_protocol_that_it_speaks(serving: Serving) -> None:
    for protocol in serving.protocols:
        load = Load(concurrency=2, protocol=protocol)
        measurement = measure(serving.server, Case(Candidate("identity"), load, Inputs({"X": (3,)})), effort=SMOKE)
        assert not measurement.problems
        assert measurement.requests > 0


def test_a_load_over_a_protocol_that_it_is_not_known_to_speak_says_what_to_name(serving: Serving) -> None:
    for protocol in {"http", "grpc"}.difference(serving.protocols):
        with pytest.raises(ServerUnavailable, match=f"the server's {protocol} endpoint is not known") as caught:
            serving.server.endpoints.address(protocol)
        assert f"{protocol}{'s' if serving.server.endpoints.tls is not None else ''}://host:port" in caught.value.hint


def test_configurations_are_applied_read_back_changed_in_place_and_taken_away(
    serving: Serving, repository: Path
) -> None:
    require_control(serving)
    control = serving.server.control
    configuration = read(repository / "another" / "config.pbtxt")
    configuration.max_batch_size = 3
    configuration.dynamic_batching.preferred_batch_size[:] = [2]
    assert control.load("another", configuration) > 0
    applied = control.configuration("another")
    assert (applied.max_batch_size, list(applied.dynamic_batching.preferred_batch_size)) == (3, [2])
    send(control, "another")
    # Only a reload would reset what was counted.
    applied.instance_group[0].count += 1
    control.load("another", applied)
    assert control.configuration("another").instance_group[0].count == applied.instance_group[0].count
    assert control.statistics("another").success_count == 1
    control.unload("another")
    assert not control.model_ready("another")
    control.unload("another")


def test_refusals_carry_tritons_reason(serving: Serving) -> None:
    require_control(serving)
    control = serving.server.control
    with pytest.raises(ModelLoadError, match="Triton refused to load corrupt") as caught:
        control.load("corrupt")
    # Only the log says it.
    assert ("config.pbtxt:" in caught.value.reason) == (serving.server.log is not None)
    with pytest.raises(ModelLoadError, match="Triton refused to load nobody"):
        control.load("nobody")
    control.load("raising")
    with pytest.raises(RequestError, match="raising answered a request with an error") as failed:
        send(control, "raising")
    assert "the model is out of order" in "\n".join([failed.value.problem, *failed.value.details])


def test_a_server_without_explicit_control_says_so(serving: Serving) -> None:
    if serving.controlled:
        pytest.skip("it loads models for us")
    with pytest.raises(LoadNotAllowed, match="does not allow models to be loaded") as caught:
        serving.server.control.load("identity")
    assert "--model-control-mode=explicit" in caught.value.hint


def test_metrics_count_what_was_sent(serving: Serving, control: Control) -> None:
    address = serving.server.endpoints.metrics
    if address is None:
        pytest.skip("nothing is known of its metrics")
    send(control)
    text = ask(address, "GET", "/metrics", timeout=5).body.decode()
    assert 'nv_inference_request_success{model="identity"' in text


def test_what_it_uses_is_known_of_our_own(serving: Serving, control: Control) -> None:
    usage = serving.server.usage()
    assert (usage.rss is not None) == (usage.cpu_seconds is not None) == serving.ours
    assert usage.rss is None or usage.rss > 2**20


def test_the_log_of_our_own_is_known(serving: Serving, control: Control) -> None:
    log = serving.server.log
    assert (log is not None) == serving.ours
    assert log is None or "identity" in log.read_text()


def test_another_name_for_a_model_is_there_on_our_own(serving: Serving, control: Control) -> None:
    alias = serving.server.alias("identity")
    assert (alias is not None) == serving.ours
    if alias is not None:
        configuration = control.configuration("identity")
        configuration.name = alias
        control.load(alias, configuration)
        assert send(control, alias) == send(control) == [[1, 2, 3]]


def test_our_own_is_started_anew_with_other_options(serving: Serving) -> None:
    server, options = serving.server, {"rate_limit": "off"}
    if not serving.ours:
        with pytest.raises(ServerUnavailable, match="cannot be started anew with --rate-limit=off"):
            server.restart(options)
        assert not server.options
        return
    server.control.load("identity")
    server.restart(options)
    assert server.options == options
    assert not server.control.model_ready("identity")
    server.restart({})
    assert not server.options
    assert server.control.server_ready()


@pytest.mark.parametrize("serve", [kind for kind in KINDS if kind.id in ("embedded", "local", "docker", "remote")])
def test_a_crash_is_told_and_nothing_is_left(serve: Serve, repository: Path, tmp_path: Path) -> None:
    with serve(repository, tmp_path) as serving:
        server, kill = serving.server, serving.kill
        server.control.load("identity")
        processes, name = [], ""
        if isinstance(server, ChildServer):
            assert server.pid is not None
            processes, name = family(server.pid), name_of(server.pid)
        assert kill is not None
        kill()
        with pytest.raises(ServerDied):
            server.control.load("identity")
        with pytest.raises(ServerDied) as caught:
            server.check()
        if serving.ours:
            assert caught.value.details
            assert str(server.log) in caught.value.hint
            assert wait_for_end(processes, 5) == []
            server.restart({})
            assert server.control.server_ready()
            server.check()
    if name:
        assert things_of(name) == []
