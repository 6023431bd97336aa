"""The truth about a space: the throughput of every candidate, measured for long, by no search's rules."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from _search_models import Model, Point
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.case import Inputs, Load
from pytest_triton.load import Plan, RequestSet, WireEngine, make_request
from pytest_triton.repository.configuration import read
from pytest_triton.repository.patch import apply
from pytest_triton.server import EmbeddedServer

_WARM_UP = 0.3
NEAR = 0.25
"""How far behind the best one, in the first rounds, a candidate may be to be measured for longer."""


@contextmanager
def serve(repository: Path, output: Path) -> Iterator[EmbeddedServer]:
    """Run the embedded server on ``repository`` for as long as the block lasts."""
    server = EmbeddedServer(repository, output=output)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def send(
    server: EmbeddedServer, model: str, concurrency: int, seconds: float, protocol: Literal["http", "grpc"]
) -> float:
    """Load ``model`` in closed loop with our engine; return inferences per second after a warm-up."""
    batch = server.control.configuration(model).max_batch_size
    metadata = server.control.metadata(model)
    request = make_request(metadata, max_batch_size=batch, inputs=Inputs(), batch_size=1, model=model)
    load = Load(concurrency=concurrency, protocol=protocol)
    with WireEngine().open(Plan(server.endpoints.address(protocol), load, RequestSet.of(request))) as session:
        session.start()
        session.collect(seconds=_WARM_UP)
        trace = session.collect(seconds=seconds)
    if trace.status.any():
        raise SystemExit(f"requests failed: {trace.reasons}")
    return len(trace) / trace.seconds


def configured(repository: Path, model: str, point: Point) -> ModelConfig:
    """Return the model's configuration with a candidate's changes."""
    return apply(read(repository / model / "config.pbtxt"), point.patch)


@dataclass
class Truth:
    """Inferences per second of candidates, by their names: one figure per round.

    Of all of them in ``rounds``; once more in ``final`` rounds of those that led by then, which count in their place.
    """

    rounds: dict[str, list[float]] = field(default_factory=dict)
    final: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Truth:
        """Read what an earlier run has kept, if it has."""
        return cls(**json.loads(path.read_text())) if path is not None and path.exists() else cls()

    def keep(self, path: Path | None) -> None:
        """Write it to ``path``."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self), indent=1))

    def values(self) -> dict[str, float]:
        """Return the candidates' means, the best one first."""
        means = {name: statistics.fmean(values) for name, values in (self.rounds | self.final).items()}
        return dict(sorted(means.items(), key=lambda item: -item[1]))

    def value(self, point: Point) -> float:
        """Return a candidate's mean."""
        return self.values()[str(point)]

    def best(self) -> float:
        """Return the highest mean."""
        return max(self.values().values())

    def leaders(self, share: float) -> list[str]:
        """Name the candidates that are at most ``share`` below the best one, which comes first."""
        return [name for name, value in self.values().items() if value >= (1 - share) * self.best()]

    def error(self, one: str, other: str) -> float:
        """Return the standard error of how many times better ``one`` is than ``other``, over the final rounds."""
        ratios = [first / second for first, second in zip(self.final[one], self.final[other], strict=True)]
        return statistics.stdev(ratios) / math.sqrt(len(ratios))


def measure_truth(
    model: Model, repository: Path, output: Path, *, rounds: int, final: int, seconds: float,
    protocol: Literal["http", "grpc"], cache: Path | None,
) -> Truth:  # fmt: skip
    """Measure every candidate for ``seconds`` in each of ``rounds`` rounds, each round in an order of its own.

    Then those that are within ``NEAR`` of the best one, in ``final`` more. Rounds that ``cache`` holds are not measured
    again; each is added to it as soon as it is complete.
    """
    truth = Truth.read(cache)
    points = list(model.space.points())
    with serve(repository, output) as server:

        def measure(kind: str, some: Sequence[Point], into: dict[str, list[float]], wanted: int) -> None:
            for number in range(wanted):
                if all(len(into.get(str(point), ())) > number for point in some):
                    continue
                chance = random.Random(f"{kind} {number}")
                groups = [list(group) for _, group in groupby(some, key=lambda point: point.patch)]
                for group in chance.sample(groups, len(groups)):
                    server.control.load(model.name, configured(repository, model.name, group[0]))
                    for point in chance.sample(group, len(group)):
                        rate = send(server, model.name, point.concurrency, seconds, protocol)
                        into.setdefault(str(point), []).append(rate)
                print(f"truth: {kind} {number + 1} of {wanted}", flush=True)
                truth.keep(cache)

        measure("round", points, truth.rounds, rounds)
        near = set(truth.final) or set(truth.leaders(NEAR))
        measure("final round", [point for point in points if str(point) in near], truth.final, final)
    return truth
