"""When a connection pauses after failures, and when a load is hopeless."""

from __future__ import annotations

import pytest

from pytest_triton.load.patience import is_hopeless, pause_after
from pytest_triton.load.place import Place
from pytest_triton.load.status import LOST, UNREACHABLE

MS = 1_000_000
SECOND = 1000 * MS


@pytest.mark.parametrize(
    ("status", "pauses"),
    [
        pytest.param(UNREACHABLE, {0: 5, 1: 5, 2: 10, 3: 20, 9: 1000, 500: 1000}, id="nobody listens"),
        pytest.param(LOST, {1: 0, 2: 5, 3: 10, 500: 1000}, id="the first loss may be an accident"),
        pytest.param(503, {1: 0, 100: 0, 101: 5, 102: 10, 500: 1000}, id="an error is an answer"),
    ],
)
def test_pauses_grow_up_to_a_second(status: int, pauses: dict[int, int]) -> None:
    assert {failures: pause_after(status, failures) // MS for failures in pauses} == pauses


def failing(*places: tuple[int, int]) -> list[Place]:
    """Connections with so many failures, since so long (ns)."""
    connections = []
    for failures, since in places:
        connections.append(Place())
        connections[-1].failures, connections[-1].failing_since = failures, since
    return connections


@pytest.mark.parametrize(
    ("connections", "hopeless"),
    [
        pytest.param(failing((10, 0)), True, id="ten failures for two seconds"),
        pytest.param(failing((9, 0)), False, id="too few"),
        pytest.param(failing((10, 1)), False, id="too short"),
        pytest.param(failing((7, 0), (3, 0)), True, id="all of them"),
        pytest.param(failing((100, 0), (2, 0)), False, id="one may be luckier"),
        pytest.param(failing((100, 0), (0, 0)), False, id="one is"),
    ],
)
def test_a_load_is_hopeless_when_all_have_failed_for_a_while(connections: list[Place], hopeless: bool) -> None:
    assert is_hopeless(connections, 2 * SECOND) is hopeless
