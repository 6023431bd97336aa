"""Our load generator against Perf Analyzer, over HTTP and gRPC: rate, client CPU per request and mean latency.

    python benchmarks/load.py

Both load the same models on the same warm embedded Triton, in alternation, so that a change of the machine's speed
meets both; the table shows medians. The models are identities of 16 floats: ``plain`` runs in the Python backend,
``cached`` is answered by Triton's response cache, so that the server costs nearly nothing and the client is the limit.

CPU per request is fair to both: for Perf Analyzer the whole process's CPU time less that of a short run (its
start-up), over all requests that Triton's statistics saw beyond the short run's; for ours the worker process's only
thread, over all requests of the trace. Perf Analyzer sends a synchronous request per thread, its
default; its asynchronous mode (``--async``) is slower here.

At the end the send lag of our open loop: how much later than it was due a request was sent.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from _perf_analyzer import PerfAnalyzer, fetch

from pytest_triton.case import Inputs, Load
from pytest_triton.load import Plan, RequestSet, WireEngine, make_request
from pytest_triton.observation import Trace
from pytest_triton.server import EmbeddedServer

Protocol = Literal["http", "grpc"]

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)]) for tensor in tensors]
"""
CONFIGURATION = """
backend: "python"
max_batch_size: 8
input [{{ name: "IN", data_type: TYPE_FP32, dims: [16] }}]
output [{{ name: "OUT", data_type: TYPE_FP32, dims: [16] }}]
instance_group [{{ count: 1, kind: KIND_CPU }}]
response_cache {{ enable: {cache} }}
"""
CACHE = "--cache-config=local,size=67108864"


@dataclass(frozen=True)
class Result:
    """One run: requests per second, mean latency and client CPU per request, both in seconds."""

    rate: float
    latency: float
    cpu: float


def write_repository(folder: Path) -> None:
    """Write the two models."""
    for name, cache in (("plain", "false"), ("cached", "true")):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(MODEL)
        (folder / name / "config.pbtxt").write_text(CONFIGURATION.format(cache=cache))


def send(server: EmbeddedServer, model: str, load: Load, seconds: float) -> Trace:
    """Send ``load`` to ``model`` with the wire engine."""
    metadata = server.control.metadata(model)
    request = make_request(metadata, max_batch_size=8, inputs=Inputs(), batch_size=1, model=model)
    with WireEngine().open(Plan(server.endpoints.address(load.protocol), load, RequestSet.of(request))) as session:
        session.start()
        session.collect(seconds=seconds / 10)
        trace = session.collect(seconds=seconds)
    if trace.status.any():
        raise SystemExit(f"our requests failed: {trace.reasons}")
    return trace


def measure_ours(server: EmbeddedServer, model: str, protocol: Protocol, concurrency: int, seconds: float) -> Result:
    """Load ``model`` with the wire engine in closed loop."""
    trace = send(server, model, Load(concurrency=concurrency, protocol=protocol), seconds)
    count = len(trace)
    return Result(count / trace.seconds, float(np.mean(trace.done - trace.sent)) / 1e9, trace.cpu_seconds / count)


def measure_theirs(
    analyzer: PerfAnalyzer,
    server: EmbeddedServer,
    model: str,
    protocol: Protocol,
    concurrency: int,
    seconds: float,
    *,
    asynchronous: bool,
) -> Result:
    """Load ``model`` with Perf Analyzer, once briefly to know what its start-up costs, and once in earnest."""

    def run(length: float) -> tuple[float, float, float, int]:
        before = server.control.statistics(model)
        report = analyzer.measure(
            server.endpoints.address(protocol),
            model,
            concurrency=concurrency,
            shape="IN:16",
            seconds=length,
            protocol=protocol,
            asynchronous=asynchronous,
        )
        count = server.control.statistics(model).since(before).success_count
        return report.throughput, report.latency, report.cpu_seconds, count

    *_, short_cpu, short_count = run(0.15)
    rate, latency, cpu, count = run(seconds)
    return Result(rate, latency, (cpu - short_cpu) / (count - short_count))


def medians(results: Sequence[Result]) -> Result:
    """The median of each figure by itself."""
    return Result(
        *(statistics.median(getattr(result, name) for result in results) for name in ("rate", "latency", "cpu"))
    )


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perf-analyzer", type=Path, metavar="PATH", help="its binary; LD_LIBRARY_PATH as it needs it")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "pytest-triton" / "perf_analyzer", metavar="FOLDER",
        help="where it is kept when it is downloaded (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--protocols", nargs="+", default=["http", "grpc"], choices=["http", "grpc"])
    parser.add_argument("--rates", type=float, nargs="*", default=[1000, 5000, 10000], help="open loop, per second")
    parser.add_argument("--async", dest="asynchronous", action="store_true", help="Perf Analyzer's asynchronous mode")
    parser.add_argument("--models", nargs="+", default=["plain", "cached"], choices=["plain", "cached"])
    parser.add_argument(
        "--rounds", type=int, default=5, help="pairs of runs per line of the table (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a run (default: %(default)s)")
    parser.add_argument("--only-ours", action="store_true", help="leave Perf Analyzer out")
    options = parser.parse_args()
    analyzer = None
    if not options.only_ours:
        analyzer = PerfAnalyzer(options.perf_analyzer) if options.perf_analyzer else fetch(options.cache)

    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        write_repository(repository)
        server = EmbeddedServer(repository, output=Path(folder) / "server", arguments=[CACHE])
        try:
            server.start()
            print(f"{server.description}; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
            if analyzer is not None:
                print(f"against {analyzer.version}")
            for model in options.models:
                server.control.load(model)
                for protocol in options.protocols:
                    compare(server, analyzer, model, protocol, options)
            server.control.load("cached")
            for protocol in options.protocols:
                show_lag(server, protocol, options)
        finally:
            server.stop()


def compare(
    server: EmbeddedServer, analyzer: PerfAnalyzer | None, model: str, protocol: Protocol, options: argparse.Namespace
) -> None:
    """Print one model's part of the table."""
    print(f"\n{model + ', ' + protocol:<14}{'rate/s':>21}{'CPU us/request':>26}{'mean latency us':>26}")
    print(f"{'conc.':<8}" + f"{'ours':>10}{'theirs':>10}{'ratio':>7}" + f"{'ours':>9}{'theirs':>10}{'ratio':>7}" * 2)
    chance = random.Random(0)
    best: list[tuple[float, float]] = []
    for concurrency in options.concurrency:
        ours: list[Result] = []
        theirs: list[Result] = []
        point = (server, model, protocol, concurrency, options.seconds)
        turns: list[Callable[[], None]] = [partial(_add, ours, measure_ours, *point)]
        if analyzer is not None:
            turns.append(partial(_add, theirs, measure_theirs, analyzer, *point, asynchronous=options.asynchronous))
        for _ in range(options.rounds):
            for turn in chance.sample(turns, len(turns)):
                turn()
        mine = medians(ours)
        line = [f"{concurrency:<8}{mine.rate:>10.0f}", f"{mine.cpu * 1e6:>9.1f}", f"{mine.latency * 1e6:>9.0f}"]
        if theirs:
            peer = medians(theirs)
            line[0] += f"{peer.rate:>10.0f}{mine.rate / peer.rate:>7.2f}"
            line[1] += f"{peer.cpu * 1e6:>10.1f}{mine.cpu / peer.cpu:>7.2f}"
            line[2] += f"{peer.latency * 1e6:>10.0f}{mine.latency / peer.latency:>7.2f}"
            best.append((mine.rate, peer.rate))
        print("".join(line), flush=True)
    if best:
        mine_best, peer_best = (max(rates) for rates in zip(*best, strict=True))
        print(f"highest {mine_best:>10.0f}{peer_best:>10.0f}{mine_best / peer_best:>7.2f}")


def _add(results: list[Result], measure: Callable[..., Result], *point: Any, **options: Any) -> None:
    results.append(measure(*point, **options))


def show_lag(server: EmbeddedServer, protocol: Protocol, options: argparse.Namespace) -> None:
    """Print how late the requests of an open loop are sent: the median over the rounds of each round's quantile."""
    for rate in options.rates:
        lags, shares = [], []
        for _ in range(options.rounds):
            trace = send(server, "cached", Load(rate=rate, protocol=protocol), options.seconds)
            lags.append(np.quantile((trace.sent - trace.scheduled) / 1e3, [0.5, 0.99]))
            shares.append(trace.cpu_seconds / trace.seconds)
        p50, p99 = np.median(lags, axis=0)
        print(
            f"send lag, {protocol}, {rate:.0f}/s: p50 {p50:.0f} us, p99 {p99:.0f} us, "
            f"client {statistics.median(shares):.0%} of a core",
            flush=True,
        )


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s")
