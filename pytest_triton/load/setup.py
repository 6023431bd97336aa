"""From the session's description of a load to the loop that sends it. Standard library only: the worker's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pytest_triton.load.answers import Answers
from pytest_triton.load.arrivals import due_times
from pytest_triton.load.connection import Target
from pytest_triton.load.loop import Loop
from pytest_triton.load.tls import make_context
from pytest_triton.load.turns import make_turns
from pytest_triton.load.wire_grpc import GrpcLoad
from pytest_triton.load.wire_http import HttpLoad


def make_load(setup: dict[str, Any], buffers: Sequence[bytes], control: int) -> Loop:
    """Make what the session asks for. Raises ``OSError`` when a file that TLS needs cannot be read.

    ``part`` of ``parts`` workers sends its share: of the ``places``, and of the arrivals.
    """
    tls, arrivals = setup["tls"], setup["arrivals"]
    target = Target(setup["host"], setup["port"])
    if tls is not None:
        protocols = ("h2",) if setup["protocol"] == "grpc" else ()
        target.context, target.server_name = make_context(**tls, protocols=protocols), tls["server_name"]
    share = {"part": setup["part"], "parts": setup["parts"]}
    common: dict[str, Any] = {
        "places": setup["places"],
        "fixed": setup["fixed"],
        "timeout": setup["timeout"],
        "control": control,
        "arrivals": due_times(**arrivals, **share) if arrivals is not None else None,
        "columns": setup["columns"],
        "answers": Answers(setup["requests"], setup["look_every"]) if setup["look_every"] else None,
    }
    if setup["protocol"] == "http":
        return HttpLoad(target, turns=make_turns(setup, buffers), **common)
    # The one package that a worker needs; it is imported where it is used.
    if setup["hpack"] not in sys.path:
        sys.path.append(setup["hpack"])
    *payloads, plain, first, again = buffers
    return GrpcLoad(
        target,
        turns=make_turns(setup, payloads),
        channels=setup["channels"],
        streaming=setup["streaming"],
        blocks=(plain, first, again),
        **common,
    )
