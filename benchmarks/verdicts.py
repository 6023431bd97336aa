"""Verdicts on a real server whose true latency is known: how often each is said, how soon, and what comparisons find.

    python benchmarks/verdicts.py

A Python model on an embedded Triton sleeps for a time drawn from a log-normal distribution (median 4.6 ms, sigma
0.3), and one connection asks it again and again: about 200 requests per second, independent by design. The true
quantile comes from a long reference run. Four parts, each of which runs alone with ``--parts``:

- ``verdicts``: the SLO at the true quantile x 0.8 (to be missed), 1.0 (undecidable) and 1.25 (to be kept), in turn.
- ``speed``: seconds from the call to the verdict in the clear cases, next to Perf Analyzer with its defaults.
- ``aa``: a configuration compared with itself: how often the 95 % interval of the gain leaves out 0.
- ``injected``: a service time longer by 0, 5, 10 and 20 %: judged at 8, 16 and 32 pairs of blocks; how many it took.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _perf_analyzer import PerfAnalyzer, fetch
from numpy.typing import NDArray

from pytest_triton.case import Candidate, Case, Load
from pytest_triton.clustering import quantile
from pytest_triton.compare import LOOKS, Comparison, Contender, compare, judge_change
from pytest_triton.deployment import Deployer
from pytest_triton.load import WireEngine
from pytest_triton.metrics import METRICS, Estimate, Metric
from pytest_triton.protocol import Effort, measure
from pytest_triton.series import latencies
from pytest_triton.server import EmbeddedServer
from pytest_triton.slo import SLO, Bound
from pytest_triton.verdict import Outcome, judge

Floats = NDArray[np.float64]

NAME = "drawn"
MODEL = """
import json
import os
import random
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self.factor = float(parameters.get("factor", {}).get("string_value", "1"))
        self.chance = random.Random(os.urandom(8))

    def execute(self, requests):
        answers = []
        for request in requests:
            time.sleep(self.factor * self.chance.lognormvariate(-5.38, 0.3))
            tensor = pb_utils.get_input_tensor_by_name(request, "X")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", tensor.as_numpy())]))
        return answers
"""
CONFIGURATION = """
backend: "python"
input [ { name: "X", data_type: TYPE_FP32, dims: [ 4 ] } ]
output [ { name: "Y", data_type: TYPE_FP32, dims: [ 4 ] } ]
instance_group [ { count: 1, kind: KIND_CPU } ]
"""
PARTS = ("verdicts", "speed", "aa", "injected")
FACTORS = (0.8, 1.0, 1.25)
INJECTED = (1.0, 1.05, 1.10, 1.20)


@contextmanager
def serve() -> Iterator[EmbeddedServer]:
    """Serve the model for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "repository" / NAME
        (model / "1").mkdir(parents=True)
        (model / "1" / "model.py").write_text(MODEL)
        (model / "config.pbtxt").write_text(CONFIGURATION)
        server = EmbeddedServer(model.parent, output=Path(folder) / "server")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def case(bound: Bound | None = None, factor: float = 1.0) -> Case:
    """One connection to the model, with its service times longer by ``factor``."""
    patch = {} if factor == 1.0 else {"parameters.factor": str(factor)}
    return Case(Candidate(NAME, patch), Load(concurrency=1), slo=SLO((bound,) if bound else ()))


def find_truth(server: EmbeddedServer, deployer: Deployer, metric: Metric, seconds: float) -> float:
    """Return the quantile of a long run."""
    long = Effort(seconds=seconds, limit=seconds, looks=1)
    measurement = measure(server, case(), effort=long, deployer=deployer)
    estimate = measurement.metrics[metric.name]
    print(
        f"reference: {measurement.requests} requests in {measurement.seconds:.0f} s, {metric.name} "
        f"{estimate.value * 1e3:.3f} ms ({_milliseconds(estimate)})",
        flush=True,
    )
    return estimate.value


def _milliseconds(estimate: Estimate) -> str:
    return " to ".join("?" if end is None else f"{end * 1e3:.3f}" for end in (estimate.low, estimate.high))


def show_verdicts(
    server: EmbeddedServer, deployer: Deployer, metric: Metric, truth: float, options: argparse.Namespace
) -> None:
    """Judge in turn with the SLO at each factor of the truth, and print the counts."""
    outcomes: dict[float, Counter[str]] = {factor: Counter() for factor in FACTORS}
    took: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    looks: dict[float, Counter[int]] = {factor: Counter() for factor in FACTORS}
    all_of_them: list[Floats] = []
    effort = Effort(limit=options.limit)
    for run in range(options.runs):
        for factor in FACTORS:
            judged = case(Bound(metric, metric.better, factor * truth))
            began = time.monotonic()
            measurement = measure(server, judged, effort=effort, deployer=deployer)
            verdict = judge(measurement, judged.slo)
            took[factor].append(time.monotonic() - began)
            outcomes[factor][verdict.outcome.value] += 1
            looks[factor][measurement.looks] += 1
            if measurement.trace is not None:
                all_of_them.append(latencies(measurement.trace))
        if options.verbose:
            print(run, {factor: dict(counts) for factor, counts in outcomes.items()}, flush=True)
    rate = sum(map(len, all_of_them)) / max(1e-9, sum(float(each.sum()) for each in all_of_them))
    drawn = np.concatenate(all_of_them)
    print(f"\n{options.runs} runs each, at most {options.limit:g} s; about {rate:.0f} requests per second")
    p = metric.quantile or 0.0
    beyond = float((drawn > truth).mean())
    print(f"all runs together: {metric.name} {quantile(drawn, p) * 1e3:.3f} ms; {beyond:.4f} beyond the reference's")
    titles = f"{'PASS':>6}{'FAIL':>6}{'INCONCLUSIVE':>14}{'ERROR':>7}{'median s':>10}{'longest s':>11}"
    print(f"{'SLO at':<10}{titles}  runs by looks")
    for factor in FACTORS:
        counts, seconds = outcomes[factor], took[factor]
        print(
            f"x {factor:<8g}{counts['PASS']:>6}{counts['FAIL']:>6}{counts['INCONCLUSIVE']:>14}{counts['ERROR']:>7}"
            f"{statistics.median(seconds):>10.2f}{max(seconds):>11.2f}  {dict(sorted(looks[factor].items()))}",
            flush=True,
        )
    clear = [each for factor in FACTORS if factor != 1.0 for each in took[factor]]
    print(f"clear cases decided within 5 s: {sum(each <= 5 for each in clear)} of {len(clear)}", flush=True)


def show_speed(
    server: EmbeddedServer, deployer: Deployer, metric: Metric, truth: float, options: argparse.Namespace
) -> None:
    """Time clear verdicts and Perf Analyzer at the same point, in alternation."""
    analyzer = PerfAnalyzer(options.perf_analyzer) if options.perf_analyzer else fetch(options.cache)
    deployer.deploy(Candidate(NAME))
    ours: list[float] = []
    theirs: list[float] = []
    percentile = round(100 * (metric.quantile or 0.0))
    for _ in range(options.rounds):
        for factor in (FACTORS[0], FACTORS[-1]):
            judged = case(Bound(metric, metric.better, factor * truth))
            began = time.monotonic()
            judge(measure(server, judged, deployer=deployer), judged.slo)
            ours.append(time.monotonic() - began)
        address = server.endpoints.address("http")
        theirs.append(analyzer.time_by_default(address, NAME, concurrency=1, shape="X:4", percentile=percentile))
    print(
        f"\nseconds to a verdict in clear cases: {_range(ours)}; {analyzer.version}, its defaults: {_range(theirs)}",
        flush=True,
    )


def _range(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}, {len(seconds)} runs)"


def compare_with(
    server: EmbeddedServer, deployer: Deployer, factor: float, by: Metric, seed: int, seconds: float, looks: int
) -> Comparison:
    """Compare the model with itself, slower by ``factor``, both loaded at once."""
    alias = server.alias(NAME)
    changed = case(factor=factor)
    try:
        return compare(
            server,
            WireEngine(),
            deployer,
            Contender(case(), lambda: deployer.deploy(Candidate(NAME))),
            Contender(changed, lambda: deployer.deploy(changed.candidate, name=alias or "")),
            by,
            looks=looks,
            settled=lambda gain: judge_change(gain, by) is not Outcome.INCONCLUSIVE,
            seconds=seconds,
            seed=seed,
        )
    finally:
        if alias is not None:
            deployer.remove(alias)


def show_aa(server: EmbeddedServer, deployer: Deployer, by: Metric, options: argparse.Namespace) -> None:
    """Compare the model with itself and print how often a difference is shown."""
    gains: list[Estimate] = []
    began = time.monotonic()
    for number in range(options.comparisons):
        gains.append(compare_with(server, deployer, 1.0, by, number, options.block, 1).gain)
        if options.verbose:
            print(number, gains[-1], flush=True)
    differ = sum(not (gain.low or 0) <= 0 <= (gain.high or 0) for gain in gains)
    size = sorted(abs(gain.value) for gain in gains)
    print(
        f"\nA/A, {by.name}, 8 pairs of blocks of {options.block:g} s: {differ} of {len(gains)} differ (5 % expected); "
        f"apparent change {statistics.median(size):.2%} in the median, {size[int(0.95 * (len(size) - 1))]:.2%} in the "
        f"95th percentile; {(time.monotonic() - began) / len(gains):.1f} s each",
        flush=True,
    )


def show_injected(server: EmbeddedServer, deployer: Deployer, by: Metric, options: argparse.Namespace) -> None:
    """Make the service longer and print what is said of it after how many pairs."""
    print(f"\nservice time longer, judged by {by.name} (tolerance 5 %) at 8, 16 and 32 pairs of {options.block:g} s:")
    for factor in options.injected:
        outcomes, pairs, changes = Counter[str](), list[int](), list[float]()
        began = time.monotonic()
        for number in range(options.repeats):
            found = compare_with(server, deployer, factor, by, number, options.block, LOOKS)
            outcomes[judge_change(found.gain, by).value] += 1
            pairs.append(found.pairs)
            changes.append(-found.gain.value)
        print(
            f"{factor - 1:+.0%}: {dict(outcomes)} after {dict(sorted(Counter(pairs).items()))} pairs; measured "
            f"{statistics.mean(changes):+.1%} ({min(changes):+.1%} to {max(changes):+.1%}); "
            f"{(time.monotonic() - began) / options.repeats:.0f} s each",
            flush=True,
        )


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument(
        "--metric", default="p95", choices=[name for name, each in METRICS.items() if each.series == "latency"]
    )
    parser.add_argument("--runs", type=int, default=40, help="of each SLO (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds of an undecided run (default: %(default)s)")
    parser.add_argument("--reference", type=float, default=60.0, help="seconds of the reference (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of Perf Analyzer (default: %(default)s)")
    parser.add_argument("--comparisons", type=int, default=40, help="A/A (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each injected change (default: %(default)s)")
    parser.add_argument("--injected", type=float, nargs="+", default=list(INJECTED), metavar="FACTOR")
    parser.add_argument("--by", default="mean", help="what is compared (default: %(default)s)")
    parser.add_argument("--block", type=float, default=0.5, help="seconds of a block (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print every run")
    parser.add_argument("--perf-analyzer", type=Path, metavar="PATH", help="its binary; LD_LIBRARY_PATH as it needs it")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "pytest-triton" / "perf_analyzer", metavar="FOLDER",
        help="where it is kept when it is downloaded (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    metric, by = METRICS[options.metric], METRICS[options.by]
    with serve() as server:
        print(f"{server.description}; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
        deployer = Deployer(server)
        if {"verdicts", "speed"} & set(options.parts):
            truth = find_truth(server, deployer, metric, options.reference)
            if "verdicts" in options.parts:
                show_verdicts(server, deployer, metric, truth, options)
            if "speed" in options.parts:
                show_speed(server, deployer, metric, truth, options)
        if "aa" in options.parts:
            show_aa(server, deployer, by, options)
        if "injected" in options.parts:
            show_injected(server, deployer, by, options)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\n{time.monotonic() - started:.0f} s")
