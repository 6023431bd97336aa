"""From a case whose requests were checked to a load that is ready to be sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pytest_triton.case import Case, Load, Phases
from pytest_triton.correctness import allow
from pytest_triton.deployment import Deployment
from pytest_triton.errors import EngineError, MeasurementError
from pytest_triton.load import WireEngine
from pytest_triton.load.base import Engine, LoadSession, Plan, RequestSet
from pytest_triton.neighbours import Neighbours
from pytest_triton.server.base import Server
from pytest_triton.verification import Verified, has_string_ids

_PLACES_OPEN = 64
"""In open loop nothing says how many requests are in flight; so many have outputs of their own in shared memory."""


@contextmanager
def open_load(
    server: Server,
    engine: Engine,
    case: Case,
    deployment: Deployment,
    verified: Verified,
    *,
    workers: int = 1,
    seed: int | None = None,
) -> Iterator[tuple[LoadSession, Neighbours]]:
    """Open the connections for ``case``'s load, and close them with the block; nothing of it is sent yet.

    Other models are under the loads that the case has for them, as long as the block lasts.

    ``workers`` processes share the load. ``seed`` fixes the arrivals, in place of the inputs' own. Raises
    ``EngineError`` when the engine cannot send it, or the server is not reached; ``ServerUnavailable`` when its
    endpoint for the protocol is not known; ``MeasurementError`` after a block in which no request to one of the other
    models succeeded.
    """
    load = case.load
    refusal = engine.refusal(load) or _refusal(case)
    if refusal:
        raise EngineError(f"the {engine.name} engine cannot send this load: {refusal}", model=case.candidate.model)
    endpoints = server.endpoints
    address = endpoints.address(load.protocol)
    with ExitStack() as undo:
        requests = verified.requests
        if load.shared_memory != "none":
            requests = undo.enter_context(_share(server, deployment, load, verified))
        plan = Plan(
            address,
            load,
            requests,
            headers=endpoints.headers,
            tls=endpoints.tls,
            seed=case.inputs.seed if seed is None else seed,
            validate=case.inputs.validate,
            tolerances=allow(case.inputs.tolerance),
            workers=workers,
            string_ids=load.sequence_length is not None and has_string_ids(deployment.configuration),
        )
        session = undo.enter_context(engine.open(plan))
        neighbours = Neighbours(
            {model: undo.enter_context(_keep_busy(server, case, model, verified)) for model in case.beside}
        )
        yield session, neighbours
        for model, reasons in neighbours.stop():
            raise MeasurementError(
                f"{case.candidate.model}: the load on {model} beside it failed",
                model=model,
                details=reasons,
                hint="Look whether the model can be asked so: measure it alone.",
            )


@contextmanager
def _keep_busy(server: Server, case: Case, model: str, verified: Verified) -> Iterator[LoadSession]:
    """Have ``model`` under the load that the case has for it, as long as the block lasts."""
    beside, endpoints = case.beside[model], server.endpoints
    plan = Plan(
        endpoints.address(beside.load.protocol),
        beside.load,
        verified.beside[model],
        headers=endpoints.headers,
        tls=endpoints.tls,
        seed=beside.inputs.seed,
    )
    with WireEngine(workers=1).open(plan) as session:
        session.start()
        yield session


def _refusal(case: Case) -> str:
    if case.load.shared_memory != "none" and case.inputs.validate != "none":
        return "answers in shared memory are not compared while it runs: leave validate away, or shared_memory"
    return ""


@contextmanager
def _share(server: Server, deployment: Deployment, load: Load, verified: Verified) -> Iterator[RequestSet]:
    """Put the tensors into shared memory; each request that may be in flight at a time has outputs of its own."""
    from pytest_triton.load.shared_memory import SharedTensors, measure_room

    assert load.shared_memory != "none"
    outputs = server.control.metadata(deployment.name)["outputs"]
    sizes = measure_room(verified.answers.values(), {entry["name"]: entry["datatype"] for entry in outputs})
    places = _PLACES_OPEN if load.open_loop and load.sequence_length is None else under_way(load)
    with SharedTensors(
        server.control, verified.requests, kind=load.shared_memory, sizes=sizes, places=places
    ) as shared:
        # In rotation: the next request takes the next outputs, until those of the first are free again.
        count = len(verified.requests.requests)
        sets = [shared.requests(place) for place in range(places)]
        yield RequestSet(
            tuple(request for each in sets for request in each.requests),
            tuple(
                tuple(place * count + index for index in stream)
                for place in range(places)
                for stream in verified.requests.streams
            ),
        )


def under_way(load: Load) -> int:
    """Return how many requests are under way at a time; 1 in an open loop without sequences, where nothing says it.

    Raises ``EngineError`` for ``auto``, which must have been resolved before.
    """
    if load.open_loop and load.sequence_length is None:
        return 1
    if not isinstance(load.concurrency, int):
        raise EngineError("concurrency='auto' must be resolved before a load is sent")
    return load.concurrency


def cycle_of(load: Load) -> float:
    """Return after how many seconds a load that changes begins anew; 0 for one that does not change."""
    return sum(phase.seconds for phase in load.rate.phases) if isinstance(load.rate, Phases) else 0.0


def most_workers() -> int:
    """Return how many processes may send a load on this machine and leave a core to the server."""
    return max(1, len(os.sched_getaffinity(0)) - 1)
