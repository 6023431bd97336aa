"""What a plan says about its requests' order, times and records, in the words that a worker reads."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from pytest_triton.case import Load, Phases
from pytest_triton.errors import EngineError, InputError
from pytest_triton.load.base import Plan
from pytest_triton.load.turns import FIRST_ID, LAST_ID


def refuse_load(engine: str, load: Load) -> str | None:
    """Say why no engine can send ``load``, or None."""
    if not isinstance(load.concurrency, int) or load.concurrency < 1:
        return f"the {engine} engine needs a concurrency of at least 1, not {load.concurrency!r}"
    if load.rate == "auto":
        return f"the {engine} engine needs a rate in numbers, not 'auto'"
    if load.streaming and load.protocol != "grpc":
        return "only gRPC streams: write protocol='grpc'"
    return None


def check_plan(plan: Plan, refusal: str | None) -> None:
    """Raise ``EngineError`` when the engine refuses the load, or the plan leaves nothing to do."""
    if refusal:
        raise EngineError(refusal)
    if not plan.requests.requests or not any(plan.requests.streams):
        raise EngineError("there is no request to send")
    if not plan.timeout > 0:
        raise EngineError(f"a time-out of {plan.timeout:g} s leaves no time for an answer")


def describe_sequences(plan: Plan, *, id_form: str) -> dict[str, Any] | None:
    """Return what ``turns.Sequences`` takes, beside its pieces; None for a load without sequences."""
    length = plan.load.sequence_length
    if length is None:
        return None
    return {
        "id_form": id_form,
        # Another load on the same server, or one just before on the same model, must not meet the same ids.
        "first_id": random.SystemRandom().randrange(FIRST_ID, LAST_ID // 2),
        "length": list(length) if isinstance(length, tuple) else [length, length],
        "seed": plan.seed,
    }


def describe_arrivals(plan: Plan) -> dict[str, Any] | None:
    """Return what ``arrivals.due_times`` takes; None in closed loop. Raises ``InputError``."""
    load = plan.load
    if not load.open_loop:
        return None
    if load.arrivals not in ("poisson", "constant"):
        return {"intervals": read_intervals(Path(load.arrivals))}
    assert load.rate != "auto"
    phases = load.rate.as_list() if isinstance(load.rate, Phases) else [[math.inf, load.rate, load.rate]]
    return {"phases": phases, "constant": load.arrivals == "constant", "seed": plan.seed}


def read_intervals(path: Path) -> list[int]:
    """Read a file of intervals in microseconds, one a line. Raises ``InputError`` naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"no intervals can be read from {path}: {error}") from error
    intervals = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            if not line.strip().isdecimal():
                raise InputError(
                    f"{path}, line {number}: {line.strip()!r} is no interval", hint="Write whole microseconds."
                )
            intervals.append(int(line))
    if not any(intervals):
        raise InputError(f"{path} holds no intervals", hint="Write whole microseconds, one interval a line.")
    return intervals


def describe_columns(plan: Plan) -> list[str]:
    """Name the columns that the trace needs beside those that every load has."""
    asked = {
        "scheduled": plan.load.open_loop,
        "request": len(plan.requests.requests) > 1,
        "sequence": plan.load.sequence_length is not None,
        "responses": plan.load.streaming,
        "response_at": plan.load.streaming,
    }
    return [name for name, needed in asked.items() if needed]
