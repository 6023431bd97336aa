"""The fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_triton.plugin import options
from pytest_triton.plugin.lifecycle import crashed, fixture_scope

if TYPE_CHECKING:
    from tritonclient.http import InferenceServerClient

    from pytest_triton.plugin.expansion import Plan
    from pytest_triton.plugin.perf import TritonPerf
    from pytest_triton.plugin.state import State
    from pytest_triton.server.base import Server


@pytest.fixture
def _triton_plan(request: pytest.FixtureRequest) -> Plan:
    from pytest_triton.plugin.expansion import plan_of

    plan: Plan = request.param if hasattr(request, "param") else plan_of(request.node)
    return plan


@pytest.fixture(scope="module")
def triton_repository(request: pytest.FixtureRequest) -> Path | None:
    """The model repository of this module's tests; None for a remote server's own.

    ``--triton-repository`` or ini ``triton_repository``, else the repository that the test file lies in.
    """
    __tracebackhide__ = True
    chosen = options.folder(request.config, "repository")
    if chosen is not None:
        return chosen
    from pytest_triton.repository.layout import find_repository

    found = find_repository(request.path)
    if found is None and not options.is_remote(request.config):
        from pytest_triton.errors import OptionError

        raise OptionError(
            f"no model repository: {request.path.name} lies neither in one nor in a model's folder",
            hint="name it with --triton-repository or the ini key triton_repository.",
        )
    return found


@pytest.fixture(scope="module")
def triton_server_args() -> list[str]:
    """Further arguments for ``tritonserver``; override it in a conftest.py or a test module."""
    return []


@pytest.fixture
def triton_inputs() -> Any:
    """Data for the requests where the markers name none; override it to return what ``triton_input(data=)`` takes."""
    return None


@pytest.fixture(scope=fixture_scope)
def triton_server(
    request: pytest.FixtureRequest, triton_repository: Path | None, triton_server_args: list[str]
) -> Server:
    """The running server. One serves the whole session, for as long as repository and arguments stay the same.

    With ``--triton-server-scope=module`` or ``test``, each module or test has one of its own.
    """
    __tracebackhide__ = True
    from pytest_triton.errors import PytestTritonError

    try:
        return _state(request).server(triton_repository, triton_server_args)
    except PytestTritonError as error:
        raise error.with_traceback(None) from None


@pytest.fixture
def triton_client(
    request: pytest.FixtureRequest, triton_repository: Path | None, triton_server_args: list[str]
) -> Iterator[InferenceServerClient]:
    """A ``tritonclient`` client, with the test's model loaded in its default configuration.

    It is ``tritonclient.http``'s, or ``tritonclient.grpc``'s where only gRPC is known of a running server.
    """
    __tracebackhide__ = True
    from pytest_triton.case import Candidate
    from pytest_triton.errors import PytestTritonError, ServerDied
    from pytest_triton.plugin.markers import read
    from pytest_triton.plugin.models import model_of
    from pytest_triton.plugin.perf import find_in_repository

    state = _state(request)
    try:
        model = model_of(read(request.node.iter_markers(), request.path.parent), request.path)
        if triton_repository is not None and not options.is_remote(request.config):
            find_in_repository(triton_repository, model)
        bench = state.bench(triton_repository, triton_server_args)
        bench.deployer.deploy(Candidate(model))
    except PytestTritonError as error:
        if isinstance(error, ServerDied):
            crashed(state, request.node)
        raise error.with_traceback(None) from None
    from pytest_triton.plugin.client import open_client

    client = open_client(bench.server.endpoints)
    yield client
    client.close()


@pytest.fixture
def triton_perf(
    request: pytest.FixtureRequest,
    _triton_plan: Plan,
    triton_repository: Path | None,
    triton_server_args: list[str],
    triton_inputs: Any,
) -> TritonPerf:
    """Measure, judge and record: ``triton_perf()`` returns the ``Measurement``.

    Arguments override the markers: ``triton_perf(concurrency=8)``. May be called several times in a test.
    """
    from pytest_triton.plugin.perf import TritonPerf

    return TritonPerf(request.node, _triton_plan, _state(request), triton_repository, triton_server_args, triton_inputs)


def _state(request: pytest.FixtureRequest) -> State:
    from pytest_triton.plugin.state import of

    return of(request.config)
