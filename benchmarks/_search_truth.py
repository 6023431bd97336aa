"""The truth about a space: the throughput of every candidate, measured for long, by no search's rules."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """Inferences per second of every candidate, by its name: one figure per round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def value(self, point: Point) -> float:
        """Return a candidate's mean over the rounds."""
        return statistics.fmean(self.rounds[str(point)])

    def best(self) -> float:
        """Return the highest mean."""
        return max(map(statistics.fmean, self.rounds.values()))

    def within(self, share: float) -> int:
        """Count the candidates that are at most ``share`` below the best one."""
        return sum(statistics.fmean(values) >= (1 - share) * self.best() for values in self.rounds.values())


def measure_truth(
    model: Model, repository: Path, output: Path, *, rounds: int, seconds: float, protocol: Literal["http", "grpc"],
    cache: Path | None,
) -> Truth:  # fmt: skip
    """Measure every candidate for ``seconds`` in each of ``rounds`` rounds, each round in an order of its own.

    Rounds that ``cache`` holds are not measured again; each is added to it as soon as it is complete.
    """
    truth = Truth(json.loads(cache.read_text())) if cache is not None and cache.exists() else Truth()
    points = list(model.space.points())
    chance = random.Random(len(points))
    with serve(repository, output) as server:
        for number in range(rounds):
            groups = [list(group) for _, group in groupby(points, key=lambda point: point.patch)]
            chance.shuffle(groups)
            if all(len(truth.rounds.get(str(point), ())) > number for point in points):
                continue
            for group in groups:
                server.control.load(model.name, configured(repository, model.name, group[0]))
                for point in chance.sample(group, len(group)):
                    rate = send(server, model.name, point.concurrency, seconds, protocol)
                    truth.rounds.setdefault(str(point), []).append(rate)
            print(f"truth: round {number + 1} of {rounds}", flush=True)
            if cache is not None:
                cache.parent.mkdir(parents=True, exist_ok=True)
                cache.write_text(json.dumps(truth.rounds, indent=1))
    return truth
