"""Candidate, Load, Inputs and Case: what one test measures, with its stable key and readable id."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_triton.errors import UsageError
from pytest_triton.quantities import Unit, parse
from pytest_triton.slo import SLO

Value = None | bool | int | float | str | list[Any] | dict[str, Any]
"""A value of a ``ModelConfig`` field as JSON has it; None removes the field."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with a configuration patch: paths of ``ModelConfig`` fields set to values.

    An empty patch is the default configuration: the model as its repository has it. ``server`` has the options of
    ``tritonserver`` that it needs (``cache_config``, with ``_``). ``composing`` has patches of other models that are
    served with it: those that an ensemble calls, or those under a load of their own beside it.
    """

    model: str
    patch: Mapping[str, Value] = field(default_factory=dict)
    server: Mapping[str, Value] = field(default_factory=dict)
    composing: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest that is the same in every process and every run for the same candidate."""
        return digest(self.as_dict())

    @property
    def settings(self) -> dict[str, Value]:
        """Everything that it sets, by the names that a search's axes have."""
        return {
            **self.patch,
            **{f"server.{option}": value for option, value in self.server.items()},
            **{f"{model}:{path}": value for model, patch in self.composing.items() for path, value in patch.items()},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the candidate as JSON has it; what is as by default is left out, but for the patch."""
        said: dict[str, Any] = {"model": self.model, "patch": dict(self.patch)}
        if self.server:
            said["server"] = dict(self.server)
        if self.composing:
            said["composing"] = {model: dict(patch) for model, patch in self.composing.items()}
        return said


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of open loop: ``seconds`` long, its rate going in a straight line from ``first`` to ``last``, per
    second.
    """

    seconds: float
    first: float
    last: float


@dataclass(frozen=True, slots=True, init=False)
class Phases:
    """A rate that changes, for ramps and bursts: the phases follow each other, and begin anew after the last.

    ``Phases(("10s", "100/s"), ("2s", "800/s"))`` is a burst of two seconds in every twelve;
    ``Phases(("30s", "100/s", "900/s"))`` is a ramp.
    """

    phases: tuple[Phase, ...]

    def __init__(self, *phases: tuple[object, ...]) -> None:
        """Read ``(duration, rate)`` or ``(duration, first rate, last rate)``, with units. Raises ``UsageError``."""
        object.__setattr__(self, "phases", tuple(_phase(phase) for phase in phases))
        if not self.phases or not any(phase.first + phase.last for phase in self.phases):
            raise UsageError("phases without a request", hint=_PHASES_EXAMPLE)

    def as_list(self) -> list[list[float]]:
        """Return the phases as JSON has them: seconds, first and last rate."""
        return [[phase.seconds, phase.first, phase.last] for phase in self.phases]


_PHASES_EXAMPLE = 'write Phases(("10s", "100/s"), ("2s", "800/s"))'


def _phase(words: object) -> Phase:
    if not isinstance(words, tuple | list) or len(words) not in (2, 3):
        raise UsageError(f"{words!r} is no phase of a load", hint=_PHASES_EXAMPLE)
    seconds = parse(words[0], Unit.SECONDS)
    rates = [parse(word, Unit.PER_SECOND) for word in words[1:]]
    if not 0 < seconds < math.inf or not all(0 <= rate < math.inf for rate in rates):
        raise UsageError(f"{words!r} is no phase of a load", hint=_PHASES_EXAMPLE)
    return Phase(seconds, rates[0], rates[-1])


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are sent, ``batch_size`` inferences each.

    Closed loop: ``concurrency`` requests in flight. Open loop, when ``rate`` is set or ``arrivals`` names a file:
    requests are sent when they are due, whatever is in flight. ``rate`` is in requests per second, or changes as its
    ``Phases`` say; ``arrivals`` is ``poisson``, ``constant``, or the path of a file with one interval in microseconds
    a line, which begins anew after its end.

    A concurrency or a rate of ``auto`` is looked for: the load at which the model delivers most within its SLO.

    ``sequence_length`` makes a request one of a sequence for a stateful model: so many requests with one correlation
    id, or ``(low, high)`` to draw the length of each sequence from, both included. Then ``concurrency`` is how many
    sequences are under way at a time, in open loop too.

    ``streaming`` sends over gRPC's bidirectional stream, which decoupled models need. ``shared_memory`` (``system`` or
    ``cuda``) passes tensors through memory that the client shares with the server, instead of over the wire.
    """

    concurrency: int | Literal["auto"] = 1
    batch_size: int = 1
    protocol: Literal["http", "grpc"] = "http"
    rate: float | Phases | Literal["auto"] | None = None
    arrivals: str = "poisson"
    sequence_length: int | tuple[int, int] | None = None
    streaming: bool = False
    shared_memory: Literal["none", "system", "cuda"] = "none"

    @property
    def open_loop(self) -> bool:
        """Whether requests are sent when they are due, instead of when another one has ended."""
        return self.rate is not None or self.arrivals not in ("poisson", "constant")

    @property
    def stationary(self) -> bool:
        """Whether the load is the same at every moment, so that latency can settle."""
        return not isinstance(self.rate, Phases)

    def as_dict(self) -> dict[str, Any]:
        """Return the load as JSON has it; what is as by default is left out, but for the first three."""
        said: dict[str, Any] = {
            "concurrency": self.concurrency,
            "batch_size": self.batch_size,
            "protocol": self.protocol,
        }
        if self.rate is not None:
            said["rate"] = self.rate.as_list() if isinstance(self.rate, Phases) else self.rate
        if self.open_loop:
            # A file goes by its name: where it lies differs from one checkout to the next.
            said["arrivals"] = re.split(r"[/\\]", self.arrivals)[-1]
        if self.sequence_length is not None:
            length = self.sequence_length
            said["sequence_length"] = list(length) if isinstance(length, tuple) else length
        if self.streaming:
            said["streaming"] = True
        if self.shared_memory != "none":
            said["shared_memory"] = self.shared_memory
        return said


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the requests carry. Shapes are as in ``dims``: without the batch dimension if the model batches.

    A size of a shape may be a pair ``(low, high)``: each request draws its own, both included. ``data`` is None
    (random), ``"zero"``, the path of an ``.npz``, of a folder with one raw file per input, or of Perf Analyzer's JSON,
    a callable ``(rng, inputs) -> {name: array}``, or a mapping from input name to an array, a scalar that fills it, or
    a ``(low, high)`` range to draw from. ``count`` different requests are made where values or shapes are drawn, and
    sent in rotation.

    ``validate`` compares answers while the load runs: ``"all"``, ``"sample"``, or ``"none"``. What they must be comes
    with the data, or is what the model answered before the load. ``tolerance`` maps a data type of Triton's to the
    relative and absolute difference from it that is allowed, where that is not the usual one.
    """

    shapes: Mapping[str, tuple[int | tuple[int, int], ...]] = field(default_factory=dict)
    data: Any = None
    seed: int = 0
    count: int = 1
    validate: Literal["none", "sample", "all"] = "none"
    tolerance: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beside:
    """What another model of the server is asked while one is measured."""

    load: Load
    inputs: Inputs = field(default_factory=Inputs)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: the load, and the shapes if there are any."""
        shapes = {name: list(shape) for name, shape in self.inputs.shapes.items()}
        return {**self.load.as_dict(), **({"shapes": shapes} if shapes else {})}


@dataclass(frozen=True, slots=True)
class Case:
    """Candidate + load + inputs + SLO: what one test measures.

    ``beside`` says what other models of the server are asked meanwhile, by their names.
    """

    candidate: Candidate
    load: Load
    inputs: Inputs = field(default_factory=Inputs)
    slo: SLO = field(default_factory=SLO)
    beside: Mapping[str, Beside] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of candidate, load and input shapes: the same case in every run has the same key."""
        return digest(
            {
                **self.candidate.as_dict(),
                "load": self.load.as_dict(),
                "shapes": {name: list(shape) for name, shape in self.inputs.shapes.items()},
                "seed": self.inputs.seed,
                **({"count": self.inputs.count} if self.inputs.count != 1 else {}),
                **({"beside": {name: each.as_dict() for name, each in self.beside.items()}} if self.beside else {}),
            }
        )


def digest(value: Any) -> str:
    """Return 16 hex digits of SHA-256 over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
