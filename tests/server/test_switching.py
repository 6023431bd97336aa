"""From one configuration to the next on one server: in place, anew, and on a server that is started again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from python_models import write_model
from serving import serve
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.case import Candidate, Case, Load, Value
from pytest_triton.deployment import Deployer
from pytest_triton.errors import ModelLoadError, ServerUnavailable
from pytest_triton.server import EmbeddedServer, RemoteServer
from pytest_triton.switching import changes_in_place, needs_no_completion

ENSEMBLE = """platform: "ensemble"
max_batch_size: 8
input [ {{ name: "X" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: {dims} }} ]
ensemble_scheduling {{ step [
  {{ model_name: "first" model_version: -1 input_map {{ key: "X" value: "X" }} output_map {{ key: "Y" value: "Z" }} }},
  {{ model_name: "second" model_version: -1 input_map {{ key: "X" value: "Z" }} output_map {{ key: "Y" value: "Y" }} }}
] }}
"""
COMPLETING = """pass

    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(8)
        return config
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``first`` and ``second``, ``both``, an ensemble of them; and ``completing``, which has a say in its fields."""
    folder = tmp_path_factory.mktemp("switching")
    for name in ("first", "second"):
        write_model(folder, name, dims="[ 2 ]")
    write_model(folder, "completing", initialize=COMPLETING, dims="[ 2 ]")
    (folder / "both" / "1").mkdir(parents=True)
    (folder / "both" / "config.pbtxt").write_text(ENSEMBLE.format(dims="[ 2 ]"))
    return folder


@pytest.fixture
def server(repository: Path, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that completes nothing, which saves a second for each load; nothing is left to complete."""
    running = EmbeddedServer(repository, output=tmp_path, arguments=["--disable-auto-complete-config"])
    running.start()
    yield running
    running.stop()


@pytest.fixture
def completing_server(repository: Path, tmp_path: Path) -> Iterator[EmbeddedServer]:
    with serve(repository, tmp_path) as running:
        yield running


def patch(instances: int = 1, **other: Value) -> dict[str, Value]:
    return {"instance_group": [{"count": instances, "kind": "KIND_CPU"}], **other}


def started(server: EmbeddedServer, model: str) -> int:
    """How many instances of ``model`` the server has started since it was, by its log."""
    return server.log.read_text().count(f"ModelInstanceInitialize: {model}_")


def test_only_more_instances_are_a_change_in_place(server: EmbeddedServer):
    deployer = Deployer(server)
    one = deployer.deploy(Candidate("first", patch(1))).configuration
    before = started(server, "first")
    two = deployer.deploy(Candidate("first", patch(2))).configuration
    assert started(server, "first") == before + 1
    assert changes_in_place(one, two)
    batching = deployer.deploy(Candidate("first", patch(2, max_batch_size=4))).configuration
    assert started(server, "first") == before + 3
    assert not changes_in_place(two, batching)
    assert deployer.count_instances() == 2


def test_a_server_that_completes_in_vain_is_spared_it(completing_server: EmbeddedServer):
    server = completing_server
    deployer = Deployer(server)
    first = server.pid
    for batch in (1, 2, 3):
        configuration = deployer.deploy(Candidate("first", patch(2, max_batch_size=batch))).configuration
        assert configuration.max_batch_size == batch
    assert server.options == {"disable_auto_complete_config": True}
    assert server.pid != first
    # Another model may have something to complete.
    assert deployer.deploy(Candidate("completing")).configuration.max_batch_size == 8
    assert server.options == {}


def test_fewer_instances_come_by_a_load_where_that_is_quicker(server: EmbeddedServer):
    deployer = Deployer(server)
    for seconds, loaded in ((9.0, 0), (0.1, 1)):
        deployer.deploy(Candidate("first", patch(2)))
        before = started(server, "first")
        deployer._loaded_in["first"] = seconds
        deployment = deployer.deploy(Candidate("first", patch(1)))
        assert started(server, "first") == before + loaded
        assert deployer.prepare(deployment, Case(deployment.candidate, Load())).requests


def test_what_completes_itself_is_always_completed(completing_server: EmbeddedServer):
    server = completing_server
    deployer = Deployer(server)
    assert not needs_no_completion(server, deployer.default("completing"))
    for turn in "123":
        deployer.deploy(Candidate("completing", {"parameters.turn": turn}))
    assert server.options == {}


@pytest.mark.parametrize(("backend", "alone"), [("onnxruntime", True), ("pytorch", True), ("openvino", False)])
def test_of_our_backends_only_openvino_completes_what_is_complete(
    repository: Path, tmp_path: Path, backend: str, alone: bool
):
    configuration = ModelConfig(name="m", backend=backend)
    assert needs_no_completion(EmbeddedServer(repository, output=tmp_path), configuration) == alone
    assert not needs_no_completion(RemoteServer("http://127.0.0.1:1"), configuration)


def test_unloaded_first_when_asked(server: EmbeddedServer):
    deployer = Deployer(server)
    deployer.deploy(Candidate("first", patch(1)), unload_first=True)
    deployer.deploy(Candidate("first", patch(2)), unload_first=True)
    assert "successfully unloaded 'first'" not in server.log.read_text()
    deployer.deploy(Candidate("first", patch(2, max_batch_size=4)), unload_first=True)
    log = server.log.read_text()
    assert log.index("successfully unloaded 'first'") < log.rindex("loading: first:1")


def test_a_fresh_server_for_each_candidate(server: EmbeddedServer):
    deployer = Deployer(server)
    deployer.deploy(Candidate("first", patch(1)))
    pids = [server.pid]
    for candidate in (Candidate("first", patch(1)), Candidate("first", patch(2)), Candidate("first", patch(2))):
        deployer.deploy(candidate, fresh=True)
        pids.append(server.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_options_of_the_server_start_it_anew_and_are_taken_back(server: EmbeddedServer):
    deployer = Deployer(server)
    cached = Candidate("first", patch(1), server={"cache_config": "local,size=1048576"})
    deployer.deploy(cached)
    assert "Creating TritonCache" in server.log.read_text()
    assert deployer.deploy(cached).configuration.name == "first"
    deployer.deploy(Candidate("first", patch(1)))
    assert server.options == {}


def test_an_option_that_the_server_does_not_start_with_is_named(server: EmbeddedServer):
    deployer = Deployer(server)
    with pytest.raises(ModelLoadError) as caught:
        deployer.deploy(Candidate("first", server={"no_such_option": "1"}))
    cause = "unrecognized option '--no-such-option=1'"
    assert caught.value.reason == f"tritonserver does not start with --no-such-option=1: {cause}"
    assert deployer.deploy(Candidate("first")).configuration.name == "first"


def test_a_server_elsewhere_is_not_started_anew(server: EmbeddedServer):
    remote = RemoteServer(f"http://{server.endpoints.http}")
    remote.start()
    with pytest.raises(ServerUnavailable, match="cannot be started anew with --rate-limit=off"):
        Deployer(remote).deploy(Candidate("first", server={"rate_limit": "off"}))


def test_an_ensemble_is_searched_by_its_steps_which_are_restored(server: EmbeddedServer):
    deployer = Deployer(server)
    patched = Candidate("both", composing={"second": patch(3)})
    deployment = deployer.deploy(patched)
    counts = {name: server.control.configuration(name).instance_group[0].count for name in ("first", "second")}
    assert counts["second"] == 3
    assert deployer.prepare(deployment, Case(patched, Load())).requests
    deployer.keep_only(patched)
    batching = Candidate("both", composing={"first": {"dynamic_batching": None}})
    deployer.prepare(deployer.deploy(batching), Case(batching, Load()))
    assert not server.control.configuration("first").HasField("dynamic_batching")
    assert server.control.configuration("second").instance_group[0].count != 3
    with pytest.raises(ModelLoadError, match="second"):
        deployer.deploy(Candidate("both", composing={"second": {"instance_group.kind": "KIND_GPU"}}))
    deployment = deployer.deploy(Candidate("both"))
    assert deployer.prepare(deployment, Case(deployment.candidate, Load())).requests
    assert server.control.configuration("first").HasField("dynamic_batching")
