"""Our search against Model Analyzer: the same model, the same space, the same machine, in turn.

    python benchmarks/search.py --parts alexnet network quality

``alexnet``  AlexNet without batching: instances 1-3 at concurrencies 1, 2, 4, 8
``network``  a small batching perceptron: instances 1-3, largest batch 1-32, concurrency 1-64, against Model Analyzer's
             brute and its quick mode
``quality``  how often a search of the network ends within 3 % of the true best, by strategy

What is timed is a whole command from its start to its end, its servers and their ends included: ``model-analyzer
profile`` in its local launch mode without reports, and ``pytest`` on a generated test file, the confirmation of the
winner included. Both use the embedded Triton, Perf Analyzer is that of ``_perf_analyzer.py``; what else Model Analyzer
gets is said in ``_model_analyzer.py``. It is installed from PyPI the first time. Both optimise throughput.

Then both winners are measured by Perf Analyzer on one server, each at its load, in alternation. What counts is
the mean ratio over the pairs, ours by theirs.

The truth of ``quality`` is every candidate's mean throughput over several long rounds, each in an order of its
own, and that of the best ones over many more; ``--truth`` keeps it in a file, to which an interrupted run adds.
``--results`` keeps every run in a file.

Needs a quiet machine: on a busy one Perf Analyzer's windows hardly ever agree, and Model Analyzer tries again and
again.
Every search is bounded by ``--limit``; parts, spaces and seeds can be run one by one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _model_analyzer import ModelAnalyzer, install
from _perf_analyzer import PerfAnalyzer, fetch
from _search_models import MODELS, Model, Point
from _search_truth import NEAR, measure_truth, send, serve
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.repository.configuration import read
from pytest_triton.repository.patch import apply

CLOSE = 0.03
PARTS = ("alexnet", "network", "quality")
MODES = {"alexnet": ("brute",), "network": ("brute", "quick")}
ASKED = {("alexnet", "brute"): 8, ("network", "brute"): 15, ("network", "quick"): 5}
"""How many times as long as ours its search is to take, at least."""


@dataclass(frozen=True)
class Search:
    """One search by either tool. ``measured`` counts measurements, ``candidates`` what there was to measure.

    ``claimed`` is the winner's throughput as the tool itself reports it.
    """

    tool: str
    seconds: float
    measured: int
    candidates: int
    winner: str
    concurrency: int
    claimed: float


@dataclass(frozen=True)
class Found:
    """A search, its winner's configuration, and the point of the space that it is (None for one outside)."""

    search: Search
    configuration: ModelConfig
    point: Point | None = None


def search_ours(model: Model, repository: Path, options: argparse.Namespace, **settings: Any) -> Found:
    """Run our search as a user would: ``pytest`` on a test file."""
    with tempfile.TemporaryDirectory(prefix="search-") as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_search.py").write_text(model.space.test(model.name, options.protocol, **settings))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--triton-server=embedded"]
        command += [f"--triton-repository={repository}", "--triton-json=found.json", "test_search.py"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=options.limit, check=False)
        seconds = time.monotonic() - began
        output = "\n".join((done.stdout + done.stderr).splitlines()[-60:])
        if options.show:
            print(output)
        if done.returncode:
            raise SystemExit(f"our search ended with {done.returncode}:\n{output}")
        return read_ours(json.loads((folder / "found.json").read_text()), seconds, model, repository)


def read_ours(document: Mapping[str, Any], seconds: float, model: Model, repository: Path) -> Found:
    """Read the winner out of ``--triton-json``."""
    (summary,) = document["searches"]
    winner = next(case for case in document["cases"] if case["id"] == summary["winner"])
    end = next(case for case in document["cases"] if case["id"].endswith("best]"))
    concurrency = winner["load"]["concurrency"]
    patch = summary["configuration"]
    points = [point for point in model.space.points() if patch.items() >= point.patch.items()]
    search = Search(
        "ours",
        seconds,
        summary["measured"],
        summary["candidates"],
        winner["id"].rpartition("[")[2].rstrip("]"),
        concurrency,
        end["measurement"]["throughput"]["value"],
    )
    point = next((point for point in points if point.concurrency == concurrency), None)
    return Found(search, apply(read(repository / model.name / "config.pbtxt"), patch), point)


def search_theirs(
    analyzer: ModelAnalyzer, model: Model, repository: Path, mode: str, options: argparse.Namespace
) -> Found:
    """Run Model Analyzer's search in ``mode``."""
    with tempfile.TemporaryDirectory(prefix="model-analyzer-") as name:
        wanted = model.space.profile(model.name, mode)
        if options.stability is not None:
            wanted["perf_analyzer_flags"] = {"stability-percentage": options.stability}
        profile = analyzer.profile(
            repository, model.name, wanted, folder=Path(name), protocol=options.protocol, limit=options.limit
        )
        configuration = read(profile.variants / profile.best.variant / "config.pbtxt")
    configuration.name = model.name
    shown = configuration.instance_group[0].count if configuration.instance_group else "default"
    search = Search(
        f"Model Analyzer, {mode}",
        profile.seconds,
        len(profile.measured),
        len(list(model.space.points())),
        f"{profile.best.variant} (instances {shown}, batch {configuration.max_batch_size})",
        profile.best.concurrency,
        profile.best.throughput,
    )
    return Found(search, configuration)


def compare_winners(
    analyzer: PerfAnalyzer, model: Model, repository: Path, ours: Found, theirs: Found, options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Measure both winners with Perf Analyzer on one server, in alternation; return pairs of inferences per second."""
    chance = random.Random(0)
    pairs = []
    with tempfile.TemporaryDirectory(prefix="winners-") as output, serve(repository, Path(output)) as server:

        def measure(found: Found) -> float:
            server.control.load(model.name, found.configuration)
            # Warms up: Perf Analyzer's first window would be the model's first requests.
            send(server, model.name, found.search.concurrency, options.winner_seconds / 6, options.protocol)
            return analyzer.measure(
                server.endpoints.address(options.protocol),
                model.name,
                concurrency=found.search.concurrency,
                shape=model.shape,
                seconds=options.winner_seconds,
                protocol=options.protocol,
            ).throughput

        for _ in range(options.winner_rounds):
            first, second = chance.sample([ours, theirs], 2)
            rates = {first.search.tool: measure(first), second.search.tool: measure(second)}
            pairs.append((rates[ours.search.tool], rates[theirs.search.tool]))
    return pairs


def compare(model: Model, repository: Path, options: argparse.Namespace, keep: Callable[[str, Any], None]) -> None:
    """Search with both, print and compare."""
    perf_analyzer = fetch(options.cache / "perf_analyzer")
    analyzer = install(options.cache, perf_analyzer)
    print("\n| search | seconds | measurements | candidates | winner | at concurrency | throughput it reports |")
    print("|---|---|---|---|---|---|---|", flush=True)
    ours = search_ours(model, repository, options)
    _print_search(ours.search)
    keep(model.name, asdict(ours.search))
    rows = []
    for mode in options.modes or MODES[model.name]:
        theirs = search_theirs(analyzer, model, repository, mode, options)
        _print_search(theirs.search)
        keep(model.name, asdict(theirs.search))
        pairs = compare_winners(perf_analyzer, model, repository, ours, theirs, options)
        keep(model.name, {"winners of": mode, "pairs": pairs})
        ratios = [mine / peer for mine, peer in pairs]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        mine, peer = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        asked = f"{ASKED[model.name, mode]}" if (model.name, mode) in ASKED else "-"
        rows.append(
            f"| {mode} | {theirs.search.seconds / ours.search.seconds:.1f} | {asked} | {mine:.1f} | {peer:.1f} | "
            f"{mean:.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
        )
    print("\n| against | times as long as ours | asked | our winner /s | theirs /s | mean ratio | pairs |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows), flush=True)


def _print_search(search: Search) -> None:
    print(
        f"| {search.tool} | {search.seconds:.1f} | {search.measured} | {search.candidates} | {search.winner} | "
        f"{search.concurrency} | {search.claimed:.1f}/s |",
        flush=True,
    )


def judge_quality(
    model: Model, repository: Path, options: argparse.Namespace, keep: Callable[[str, Any], None]
) -> None:
    """Search with every strategy and seed, and say how far the winners are from the true best."""
    with tempfile.TemporaryDirectory(prefix="truth-") as output:
        truth = measure_truth(
            model, repository, Path(output), rounds=options.truth_rounds, final=options.truth_final,
            seconds=options.truth_seconds, protocol=options.protocol, cache=options.truth,
        )  # fmt: skip
    best = truth.best()
    first, *others = truth.leaders(NEAR)
    print(f"the true best of {len(truth.rounds)} candidates, {first}, makes {best:.0f}/s; what is near it:")
    for other in others:
        behind = 1 - truth.values()[other] / best
        print(f"{other}: {behind:.1%} behind (standard error {truth.error(other, first):.1%})", flush=True)
    strategies = [each for each in options.strategies if each != "optuna" or importlib.util.find_spec("optuna")]
    if len(strategies) < len(options.strategies):
        print("optuna is not installed: left out")
    runs: dict[str, list[tuple[Search, float]]] = {strategy: [] for strategy in strategies}
    for seed in range(options.first_seed, options.first_seed + options.searches):
        for strategy in strategies:
            found = search_ours(model, repository, options, strategy=strategy, seed=seed)
            # A winner outside the space, the default configuration, counts as a miss.
            behind = 1 - truth.value(found.point) / best if found.point is not None else 1.0
            runs[strategy].append((found.search, behind))
            keep("quality", {"strategy": strategy, "seed": seed, "behind": behind, **asdict(found.search)})
            print(
                f"seed {seed}, {strategy}: {found.point or found.search.winner}, {behind:.1%} behind, "
                f"{found.search.measured} measured, {found.search.seconds:.1f} s",
                flush=True,
            )
    print(f"\n| strategy | within {CLOSE:.0%} | median behind | furthest behind | median seconds | measured |")
    print("|---|---|---|---|---|---|")
    for strategy, results in runs.items():
        behinds = [behind for _, behind in results]
        print(
            f"| {strategy} | {sum(behind <= CLOSE for behind in behinds)} of {len(results)} | "
            f"{statistics.median(behinds):.1%} | {max(behinds):.1%} | "
            f"{statistics.median(search.seconds for search, _ in results):.1f} | "
            f"{statistics.median(search.measured for search, _ in results):.0f} |",
            flush=True,
        )


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="(default: all)")
    parser.add_argument("--modes", nargs="+", choices=["brute", "quick"], help="of Model Analyzer (default: see above)")
    parser.add_argument(
        "--stability", type=float, metavar="PERCENT", help="how far Model Analyzer's windows may lie apart, for a trial"
    )
    parser.add_argument("--protocol", default="http", choices=["http", "grpc"], help="for both (default: %(default)s)")
    parser.add_argument(
        "--instances", type=int, nargs="+", metavar="COUNT", help="a smaller space: only these instance counts"
    )
    parser.add_argument("--batches", type=int, nargs="+", metavar="SIZE", help="only these largest batches (network)")
    parser.add_argument("--concurrencies", type=int, nargs="+", metavar="COUNT", help="only these concurrencies")
    parser.add_argument(
        "--winner-rounds", type=int, default=7, help="pairs of measurements of the winners (default: %(default)s)"
    )
    parser.add_argument("--winner-seconds", type=float, default=6.0, help="of each of them (default: %(default)s)")
    parser.add_argument("--strategies", nargs="+", default=["race", "exhaustive", "optuna"], help="for the quality")
    parser.add_argument("--searches", type=int, default=10, help="seeds for the quality (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--truth", type=Path, metavar="PATH", help="where the truth is kept and taken from")
    parser.add_argument("--truth-rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--truth-final", type=int, default=15, help="rounds of the best ones (default: %(default)s)")
    parser.add_argument("--truth-seconds", type=float, default=2.0, help="per round (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a search (default: %(default)s)")
    parser.add_argument("--results", type=Path, metavar="PATH", help="where each run is added, a line of JSON each")
    parser.add_argument("--show", action="store_true", help="print the end of what pytest prints")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "pytest-triton", metavar="FOLDER",
        help="where Model Analyzer, Perf Analyzer and AlexNet are kept (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    # Or what is under way, and its folders, would outlive this.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

    def keep(part: str, what: Any) -> None:
        if options.results is not None:
            with options.results.open("a") as lines:
                lines.write(json.dumps({"part": part, "result": what}) + "\n")

    with tempfile.TemporaryDirectory(prefix="repositories-") as folder:
        repositories: dict[str, Path] = {}

        def repository(model: Model) -> Path:
            if model.name not in repositories:
                repositories[model.name] = Path(folder) / model.name
                model.write(repositories[model.name], options.cache)
            return repositories[model.name]

        for part in options.parts:
            print(f"\n{part}", flush=True)
            model = MODELS["network" if part == "quality" else part].within(
                options.instances, options.batches, options.concurrencies
            )
            (judge_quality if part == "quality" else compare)(model, repository(model), options, keep)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s")
