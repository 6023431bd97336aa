"""How often a verdict on a latency bound is wrong, by simulation: ours, the plain binomial test, and three windows.

    python benchmarks/protocol.py

Queues of known truth (``_queues.py``) stand in for a server; every run is judged by the product's own test at the
looks that ``protocol.measure`` would take at a steady rate, after its warm-up. The same series are judged by

- the plain binomial test at the same looks: MLPerf LoadGen's, which takes requests for independent;
- Perf Analyzer's rule: windows of 5 s until throughput and mean latency of three in a row lie within 10 %, at most ten
  windows, then the quantile of the three against the limit. Not stable by then is counted as undecided.

The limit is put where a share of requests exceeds it: exactly the one allowed (a PASS is then false, and a
FAIL too), a quarter and a half of it (PASS is right), twice and four times (FAIL is right).

The last lines say which cells miss what is promised: up to a load of 0.7, false PASSes in at most alpha
of the runs, give or take two standard errors; above it, undecided rather than wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _queues import SPECIAL, SPREADS, Floats, Queue

from pytest_triton.clustering import quantile
from pytest_triton.exceedance import latency_test
from pytest_triton.metrics import METRICS
from pytest_triton.protocol import Effort
from pytest_triton.slo import SLO
from pytest_triton.statistics import binomial_cdf, steady_start
from pytest_triton.verdict import ALPHA, ALPHA_FAIL, LOOKS, requests_for_first_look

RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Where the limit lies: exceedances as a multiple of those allowed."""
LOADS = (0.5, 0.7, 0.85, 0.95)
PROMISED_UP_TO = 0.7
METRIC_NAMES = ("p95", "p99")
RATE = 200.0
"""Requests per second: what turns the seconds of an effort into requests."""

_WINDOW_SECONDS = 5.0
_WINDOWS = 10
_STABLE = 1.10

Outcomes = Counter[str]


@dataclass
class Tally:
    """What one rule said, over all runs at one limit. ``far`` are PASSes by ``is_far_below`` alone."""

    outcomes: Counter[str] = field(default_factory=Counter)
    used: list[int] = field(default_factory=list)
    far: int = 0

    def add(self, outcome: str, used: int, far: bool = False) -> None:
        """Count one run that ended with ``outcome`` after ``used`` requests."""
        self.outcomes[outcome] += 1
        self.used.append(used)
        self.far += far

    def share(self, outcome: str) -> float:
        """Return how many of the runs ended with ``outcome``, as a fraction."""
        return self.outcomes[outcome] / max(1, self.outcomes.total())

    @property
    def samples(self) -> float:
        """The mean number of requests that were used."""
        return sum(self.used) / max(1, len(self.used))


Cell = dict[tuple[str, str, float], Tally]
"""Tallies by metric, rule and ratio."""


def planned_looks(name: str, effort: Effort, rate: float) -> list[int]:
    """Return how many requests each look of ``protocol.measure`` sees at a steady ``rate``."""
    first = max(effort.requests, requests_for_first_look(SLO.parse({name: "1s"})), math.ceil(effort.seconds * rate))
    most = max(first, math.floor(effort.limit * rate))
    return sorted({min(first * 2**look, most) for look in range(LOOKS - 1)} | {most})


def warm_up(latencies: Floats, effort: Effort, rate: float) -> tuple[int, bool]:
    """Return how many requests ``protocol.measure`` would spend on its warm-up, and whether it found latency steady."""
    size, most = math.ceil(effort.warmup * rate), math.floor(effort.warmup_limit * rate)
    while True:
        if steady_start(latencies[:size]) is not None:
            return size, True
        if size >= most:
            return size, False
        size = min(math.ceil(size * 1.5), most)


def judge_ours(latencies: Floats, limit: float, p: float, looks: Sequence[int]) -> tuple[str, int, bool]:
    """Judge as ``verdict.judge`` does, at each look until one decides."""
    alpha = ALPHA / LOOKS
    for size in looks:
        test = latency_test(latencies[:size], limit, p, alpha=alpha, alpha_fail=ALPHA_FAIL / LOOKS)
        if test.kept is not None:
            return ("PASS", size, test.kept_p > alpha) if test.kept else ("FAIL", size, False)
    return "INCONCLUSIVE", looks[-1], False


def judge_binomial(latencies: Floats, limit: float, p: float, looks: Sequence[int]) -> tuple[str, int]:
    """Judge by the plain binomial test, at the same looks and levels."""
    over = np.cumsum(latencies > limit)
    for size in looks:
        count = int(over[size - 1])
        if binomial_cdf(count, size, 1 - p) <= ALPHA / LOOKS:
            return "PASS", size
        if 1 - binomial_cdf(count - 1, size, 1 - p) <= ALPHA_FAIL / LOOKS:
            return "FAIL", size
    return "INCONCLUSIVE", looks[-1]


@dataclass(frozen=True)
class Windows:
    """Three stable windows, as latencies in ascending order; none (None) when the last of ten was not stable yet."""

    latencies: Floats | None
    used: int

    def judge(self, limit: float, p: float) -> tuple[str, int]:
        """Hold the quantile against the limit, as if it had no error."""
        if self.latencies is None:
            return "INCONCLUSIVE", self.used
        return ("PASS" if quantile(self.latencies, p) <= limit else "FAIL"), self.used


def find_windows(latencies: Floats, done: Floats, rate: float) -> Windows:
    """Look for three windows in a row whose throughput and mean latency lie within 10 %."""
    edges = np.searchsorted(done, done[0] + _WINDOW_SECONDS * rate * np.arange(_WINDOWS + 1))
    counts = np.diff(edges)
    totals = np.concatenate(([0.0], np.cumsum(latencies)))[edges]
    means = np.diff(totals) / np.maximum(counts, 1)
    for last in range(3, _WINDOWS + 1):
        three = slice(last - 3, last)
        if all(series[three].max() <= _STABLE * series[three].min() for series in (counts, means)):
            return Windows(latencies[edges[last - 3] : edges[last]], int(edges[last]))
    return Windows(None, int(edges[-1]))


def simulate(
    queue: Queue, seed: int, runs: int, samples: int, *, effort: Effort | None = None, rate: float = RATE
) -> Cell:
    """Judge ``runs`` independent runs of ``queue``; its truth comes from ``samples`` other requests."""
    effort = effort or Effort()
    rng = np.random.default_rng(seed)
    quantiles = [METRICS[name].quantile or 0.0 for name in METRIC_NAMES]
    ends = np.array([1 - ratio * (1 - p) for p in quantiles for ratio in RATIOS])
    # With load latencies hang together over thousands of requests, so that more of them are needed.
    truth = queue.quantiles(rng, ends, samples if queue.load < LOADS[1] else 4 * samples).reshape(len(quantiles), -1)
    looks = [planned_looks(name, effort, rate) for name in METRIC_NAMES]
    longest = max(each[-1] for each in looks) + math.ceil(effort.warmup_limit * rate)
    every, moments = queue.draw(rng, runs, longest)
    cell: Cell = {}
    for latencies, done in zip(every, moments, strict=True):
        begin, steady = warm_up(latencies, effort, rate)
        measured = latencies[begin:]
        windows = find_windows(measured, done[begin:], rate)
        for name, p, limits, planned in zip(METRIC_NAMES, quantiles, truth, looks, strict=True):
            for ratio, limit in zip(RATIOS, limits.tolist(), strict=True):
                ours = judge_ours(measured, limit, p, planned)
                # Without a steady state neither PASS nor FAIL is said.
                ours = ours if steady else ("INCONCLUSIVE", planned[-1], False)
                cell.setdefault((name, "ours", ratio), Tally()).add(*ours)
                cell.setdefault((name, "binomial", ratio), Tally()).add(*judge_binomial(measured, limit, p, planned))
                cell.setdefault((name, "windows", ratio), Tally()).add(*windows.judge(limit, p))
    return cell


@dataclass(frozen=True)
class Miss:
    """Where a cell errs more often than alpha. ``promised`` says that it should not."""

    text: str
    promised: bool


def misses(queue: Queue, cell: Cell, name: str) -> Iterator[Miss]:
    """Find where a cell errs more often than alpha and two standard errors, or more often than it is undecided."""
    tally = cell[name, "ours", 1.0]
    runs = tally.outcomes.total()
    for outcome, alpha in (("PASS", ALPHA), ("FAIL", ALPHA_FAIL)):
        allowed, seen = alpha + 2 * math.sqrt(alpha * (1 - alpha) / runs), tally.share(outcome)
        if seen > allowed:
            text = f"{queue}, {name}: false {outcome} in {seen:.3f} of the runs, {allowed:.3f} is allowed"
            yield Miss(text, queue.load <= PROMISED_UP_TO)
    wrong = tally.share("PASS") + tally.share("FAIL")
    if queue.load > PROMISED_UP_TO and wrong >= tally.share("INCONCLUSIVE"):
        yield Miss(f"{queue}, {name}: wrong in {wrong:.3f} of the runs, more often than undecided", True)


COLUMNS: tuple[tuple[str, str, float, str], ...] = (
    ("PASS on", "ours", 1.0, "PASS"),
    ("(far)", "ours", 1.0, "far"),
    ("FAIL on", "ours", 1.0, "FAIL"),
    ("undec.", "ours", 1.0, "INCONCLUSIVE"),
    ("PASS 1/4", "ours", 0.25, "PASS"),
    ("PASS 1/2", "ours", 0.5, "PASS"),
    ("FAIL x2", "ours", 2.0, "FAIL"),
    ("FAIL x4", "ours", 4.0, "FAIL"),
    ("n 1/4", "ours", 0.25, "samples"),
    ("n on", "ours", 1.0, "samples"),
    ("n x4", "ours", 4.0, "samples"),
    ("| PASS on", "binomial", 1.0, "PASS"),
    ("FAIL on", "binomial", 1.0, "FAIL"),
    ("| PASS on", "windows", 1.0, "PASS"),
    ("FAIL on", "windows", 1.0, "FAIL"),
    ("undec.", "windows", 1.0, "INCONCLUSIVE"),
    ("PASS x2", "windows", 2.0, "PASS"),
    ("FAIL 1/2", "windows", 0.5, "FAIL"),
)
"""Title, rule, where the limit lies, and what of the tally. ``n`` are requests used; those of the binomial test and of
three windows stand behind the bars."""


def header() -> str:
    """Return the table's first line."""
    return f"{'queue':<22}{'':<4}" + "".join(f"{title:>10}" for title, *_ in COLUMNS)


def row(queue: Queue, cell: Cell, name: str) -> str:
    """Return the line of a cell."""
    return f"{queue!s:<22}{name:<4}" + "".join(
        f"{_figure(cell[name, rule, ratio], what):>10}" for _, rule, ratio, what in COLUMNS
    )


def _figure(tally: Tally, what: str) -> str:
    if what == "samples":
        return f"{tally.samples:.0f}"
    return f"{tally.far / tally.outcomes.total() if what == 'far' else tally.share(what):.3f}"


def summary(cells: Iterable[tuple[Queue, Cell]], name: str) -> Iterator[str]:
    """Yield a line per load: the mean over all queues, and the worst."""
    known = list(cells)
    for load in sorted({queue.load for queue, _ in known}):
        these = [cell for queue, cell in known if queue.load == load]

        def mean(rule: str, ratio: float, outcome: str, these: list[Cell] = these) -> float:
            return float(np.mean([cell[name, rule, ratio].share(outcome) for cell in these]))

        worst = max(cell[name, "ours", 1.0].share("PASS") for cell in these)
        yield (
            f"{name}, load {load}: false PASS {mean('ours', 1.0, 'PASS'):.3f} (worst {worst:.3f}), false FAIL "
            f"{mean('ours', 1.0, 'FAIL'):.3f}; PASS at 1/4 {mean('ours', 0.25, 'PASS'):.2f}, FAIL at x4 "
            f"{mean('ours', 4.0, 'FAIL'):.2f}; on the bound the binomial test passes "
            f"{mean('binomial', 1.0, 'PASS'):.2f} and fails {mean('binomial', 1.0, 'FAIL'):.2f}, three windows pass "
            f"{mean('windows', 1.0, 'PASS'):.2f} and fail {mean('windows', 1.0, 'FAIL'):.2f}; "
            f"at x2 they pass {mean('windows', 2.0, 'PASS'):.2f}"
        )


def queues(servers: Sequence[int], loads: Sequence[float], *, special: bool) -> list[Queue]:
    """Return the queues of the table."""
    found = [Queue(count, spread, load) for count in servers for spread in SPREADS for load in loads]
    return found + [Queue(1, service, load) for service in SPECIAL for load in loads if special]


def main() -> None:
    """Simulate every queue and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="per queue (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=3_000_000, help="for the truth; from a load of 0.7 on, 4 x")
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS))
    parser.add_argument("--no-special", action="store_true", help="leave out drifts, stalls and batches")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every count there too")
    options = parser.parse_args()
    began = time.monotonic()
    wanted = queues(options.servers, options.loads, special=not options.no_special)
    for name in METRIC_NAMES:
        print(f"{name}: looks at {planned_looks(name, Effort(), options.rate)} requests")
    error = math.sqrt(ALPHA * (1 - ALPHA) / options.runs)
    print(f"{options.runs} runs of each queue; a standard error of {ALPHA:.0%} is {error:.3f}\n\n{header()}")
    cells: list[tuple[Queue, Cell]] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(simulate, queue, options.seed + number, options.runs, options.samples, rate=options.rate)
            for number, queue in enumerate(wanted)
        ]
        for queue, task in zip(wanted, tasks, strict=True):
            cells.append((queue, task.result()))
            for name in METRIC_NAMES:
                print(row(*cells[-1], name), flush=True)
    print()
    for name in METRIC_NAMES:
        print("\n".join(summary(cells, name)))
    found = [miss for queue, cell in cells for name in METRIC_NAMES for miss in misses(queue, cell, name)]
    broken, also = ([miss.text for miss in found if miss.promised is promised] for promised in (True, False))
    print(f"\n{len(broken)} promises broken in {2 * len(wanted)} cells, {len(also)} cells beyond them that miss alpha:")
    print("\n".join([*broken, "", *also]))
    print(f"{time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(as_rows(cells), indent=1), encoding="utf-8")


def as_rows(cells: Iterable[tuple[Queue, Cell]]) -> list[dict[str, object]]:
    """Return every tally as JSON has it."""
    return [
        {"queue": str(queue), "load": queue.load, "metric": name, "rule": rule, "ratio": ratio}
        | {"outcomes": dict(tally.outcomes), "samples": tally.samples, "far": tally.far}
        for queue, cell in cells
        for (name, rule, ratio), tally in cell.items()
    ]


if __name__ == "__main__":
    main()
