"""Performance tests against a running server, as a user names it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from apart import install_triton, serve_fixed
from python_models import write_model
from tls import Certificates, make_certificates, tls_proxy

from pytest_triton import EmbeddedServer

TOKEN = "hunter2"
MEASURED = """
import numpy as np

def test_it(triton_client, triton_perf):
    import tritonclient.{protocol} as triton
    tensor = triton.InferInput("X", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.arange(4, dtype=np.float32).reshape(1, 4))
    assert triton_client.infer("identity", [tensor]).as_numpy("Y").tolist() == [[0, 1, 2, 3]]
    triton_perf(protocol="{protocol}")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("served")
    # Slow enough that the client's own microseconds do not count.
    write_model(folder / "models", "identity", dims="[ 4 ]", execute="import time; time.sleep(0.005)")
    server = EmbeddedServer(folder / "models", output=folder / "output", arguments=["--disable-auto-complete-config"])
    with ExitStack() as undo:
        undo.callback(server.stop)
        server.start()
        server.control.load("identity")
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def everything_written(folder: Path) -> str:
    """All that a run left behind, but for the test itself."""
    return "".join(
        path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file() and "test_" not in path.name
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_server_behind_tls_that_wants_a_token(run, pytester, server, certificates, monkeypatch):
    monkeypatch.setenv("SERVER_TOKEN", TOKEN)
    with tls_proxy(server.endpoints.address("http"), certificates, token=TOKEN) as address:
        pytester.makeini(
            "[pytest]\ntriton_header =\n    Authorization: Bearer env:SERVER_TOKEN\n    X-Team: vision\n"
            f"triton_ca = {certificates.ca}\n"
        )
        result = run(
            MEASURED.format(protocol="http"),
            f"--triton-server=https://{address}",
            "--triton-smoke",
            "--triton-json=found.json",
            "--junitxml=found.xml",
            "-vv",
            "--showlocals",
        )
        result.assert_outcomes(passed=1)
        # What was chosen is told, and of a header not even what is no secret.
        result.stdout.fnmatch_lines([f"triton: server https://{address} (command line), header (ini), ca *"])
        refused = run(
            MEASURED.format(protocol="http"),
            f"--triton-server=https://{address}",
            "--triton-header=Authorization: Bearer hunter3",
            "--showlocals",
            "--triton-json=refused.json",
            "--junitxml=refused.xml",
        )
        refused.assert_outcomes(errors=1)
        refused.stdout.fnmatch_lines(["*no Triton answers at https://*: HTTP status 401: who are you, [*][*][*]?*"])
    shown = result.stdout.str() + result.stderr.str() + refused.stdout.str() + refused.stderr.str()
    assert "hunter" not in shown
    assert "hunter" not in everything_written(pytester.path)


def test_what_a_server_serves_is_measured_as_it_is_where_it_loads_nothing(run, pytester, server, tmp_path):
    # The test lies anywhere: the models are the server's.
    folder = pytester.mkdir("elsewhere")
    with serve_fixed(install_triton(tmp_path / "triton"), server.repository, tmp_path) as at:
        result = run(
            """
@pytest.mark.triton_model("identity")
def test_served(triton_perf):
    triton_perf()

@pytest.mark.triton_model("other")
def test_other(triton_perf):
    triton_perf()

@pytest.mark.triton_model("identity")
@pytest.mark.triton_search({"instance_count": [2, 3]})
def test_search(triton_perf):
    triton_perf()
""",
            f"--triton-server=http://{at.http}",
            "--triton-smoke",
            folder=folder,
        )
    result.assert_outcomes(passed=1, errors=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*the server at * does not allow models to be loaded or unloaded*",
            "*model: other*",
            "*it serves identity*",
            "*--model-control-mode=explicit*",
            "*nothing can be compared*",
        ]
    )


SEARCH = """
@pytest.mark.triton_model("identity")
@pytest.mark.triton_search({"max_batch_size": [2, 4]})
def test_search(triton_perf):
    triton_perf()
"""


def test_a_server_is_left_as_it_was_found_and_a_search_goes_on_there_only_with_the_same_model(run, server, pytester):
    test = f"""{SEARCH}
@pytest.mark.triton_model("spare")
def test_spare(triton_perf):
    triton_perf()
"""
    write_model(server.repository, "spare", dims="[ 4 ]")
    folder, options = pytester.mkdir("elsewhere"), (f"--triton-server=http://{server.endpoints.http}", "--triton-smoke")
    before, changed = (server.control.configuration("identity") for _ in range(2))
    run(test, *options, "-k", "b2 or spare", folder=folder).assert_outcomes(passed=2, deselected=2)
    assert server.control.configuration("identity") == before
    assert not server.control.model_ready("spare")
    changed.instance_group[0].count += 1
    server.control.load("identity", changed)
    try:
        result = run(test, *options, "-k", "not spare", folder=folder)
        result.assert_outcomes(passed=3, deselected=1)
        result.stdout.fnmatch_lines(["*is not reused; changed since: the model on the server*"])
        assert server.control.configuration("identity") == changed
    finally:
        server.control.load("identity", before)


def test_workers_do_not_search_on_one_server_at_once(run, server):
    pytest.importorskip("xdist")
    result = run(SEARCH, f"--triton-server=http://{server.endpoints.http}", "-n2", "-k", "b2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*several workers would do so at once*"])


def test_a_server_that_is_known_by_its_grpc_endpoint_alone(run, server):
    result = run(MEASURED.format(protocol="grpc"), f"--triton-server=grpc://{server.endpoints.grpc}", "--triton-smoke")
    result.assert_outcomes(passed=1)


def test_both_endpoints_of_one_server(run, server):
    result = run(
        """
def test_it(triton_perf):
    triton_perf(protocol="http")
    triton_perf(protocol="grpc")
""",
        f"--triton-server=http://{server.endpoints.http},grpc://{server.endpoints.grpc}",
        "--triton-smoke",
    )
    result.assert_outcomes(passed=1)


def test_a_header_without_its_variable_says_which(run, server, monkeypatch):
    monkeypatch.delenv("SERVER_TOKEN", raising=False)
    result = run(
        "def test_it(triton_perf):\n    triton_perf()\n",
        f"--triton-server=http://{server.endpoints.http}",
        "--triton-header=Authorization: Bearer env:SERVER_TOKEN",
    )
    result.stdout.fnmatch_lines(["*Authorization comes from the environment variable SERVER_TOKEN, which is not set*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_headers_are_for_running_servers_alone(run, monkeypatch):
    # The same ini file serves at home, without the token.
    monkeypatch.delenv("SERVER_TOKEN", raising=False)
    result = run(
        "def test_it(triton_perf):\n    triton_perf()\n",
        "--triton-header=Authorization: Bearer env:SERVER_TOKEN",
        "--triton-smoke",
    )
    result.assert_outcomes(passed=1)


def test_a_password_in_an_address_is_refused_and_not_shown(run):
    result = run("def test_it(triton_perf):\n    triton_perf()\n", "--triton-server=http://me:hunter2@127.0.0.1:9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*an address carries no name or password*"])
    assert "hunter2" not in result.stdout.str() + result.stderr.str()
