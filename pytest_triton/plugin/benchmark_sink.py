"""Our measurements as pytest-benchmark's: its JSON, its comparisons and all that reads them work on our tests.

What was measured is replayed into the ``benchmark`` fixture with a clock that goes forward by the samples. A closed
loop is cut into windows of equally many inferences, and a sample is the time of a window by its inferences: so
``mean`` is the time an inference took, and ``ops`` is the throughput. An open loop has the throughput that it asks
for, so there the samples are the latencies of the requests that succeeded.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pytest_triton.plugin import options
from pytest_triton.plugin.keys import PLAN

if TYPE_CHECKING:
    from pytest_triton.bench import Evaluation
    from pytest_triton.observation import Trace
    from pytest_triton.results.record import Record

FIXTURE = "benchmark"
_WINDOWS = 20
"""Windows that a closed loop is cut into, as many as its batch means at most."""
_CLOCK: pytest.StashKey[ReplayClock] = pytest.StashKey()


@dataclass(slots=True, eq=False)
class ReplayClock:
    """A timer that stands still while samples are replayed, but for what ``advance`` adds; else the real one.

    A test may use the fixture for something of its own, which then is timed as always. Each clock is only itself, so
    that pytest-benchmark can remember its precision.
    """

    _samples: Iterator[float] = field(default_factory=lambda: iter(()))
    _now: float | None = None

    def __call__(self) -> float:
        return time.perf_counter() if self._now is None else self._now

    def __repr__(self) -> str:
        # pytest-benchmark writes it down as the timer's name.
        return "pytest_triton.replay"

    def load(self, samples: Sequence[float]) -> None:
        """Begin to replay ``samples``, in seconds."""
        self._samples = iter(samples)
        self.reset()

    def reset(self) -> None:
        """Go back to 0, so that no sum of samples costs the next one its digits."""
        self._now = 0.0

    def advance(self) -> None:
        """Let the next sample pass."""
        self._now = (self._now or 0.0) + next(self._samples, 0.0)

    def release(self) -> None:
        """Be the real clock again."""
        self._now = None


def prepare(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Give the tests of ours pytest-benchmark's fixture where that is wanted, and a clock to replay with.

    ``items`` are the tests that measure. To be called before pytest-benchmark looks at them.
    """
    if not config.pluginmanager.hasplugin("benchmark") or options.setting(config, "benchmark")[0] == "off":
        return
    wanted = _is_wanted(config)
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        asked = FIXTURE in _arguments(item)
        if not wanted and not asked:
            continue
        if FIXTURE not in names:
            names.append(FIXTURE)
        if not asked:
            # A candidate that does not load has nothing to show, and that is no mistake of the test's.
            item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"), append=False)
        item.stash[_CLOCK] = clock = ReplayClock()
        known = item.get_closest_marker(FIXTURE)
        said = {"group": _group(item), **(known.kwargs if known is not None else {})}
        item.add_marker(pytest.mark.benchmark(**said | {"timer": clock}), append=False)


def _is_wanted(config: pytest.Config) -> bool:
    """Tell whether any option of pytest-benchmark is given, wherever options are given."""
    addopts = config.getini("addopts")
    given = [
        *config.invocation_params.args,
        *(addopts if isinstance(addopts, list) else shlex.split(str(addopts))),
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
    ]
    return any(str(argument).startswith("--benchmark-") for argument in given)


def _arguments(item: pytest.Item) -> Sequence[str]:
    """Return the fixtures that the test's function, or a ``usefixtures`` mark, names."""
    import inspect

    function = getattr(item, "function", None)
    named = list(inspect.signature(function).parameters) if function is not None else []
    return named + [name for mark in item.iter_markers("usefixtures") for name in mark.args]


def _group(item: pytest.Item) -> str:
    """Name what a test's samples may stand beside: those of the same model, and of the same kind."""
    plan = getattr(item, "callspec", None) and item.callspec.params.get(PLAN)  # type: ignore[attr-defined]
    if plan is None:
        from pytest_triton.plugin.expansion import plan_of

        plan = plan_of(item)
    case = plan.case
    return f"{case.candidate.model}: {'latency' if case.load.open_loop else 'time per inference'}"


def replay(item: pytest.Item, record: Record, evaluation: Evaluation) -> None:
    """Show pytest-benchmark a measurement, if it is there to see; the first one of a test, which it has room for."""
    fixture = getattr(item, "funcargs", {}).get(FIXTURE)
    clock = item.stash.get(_CLOCK, None)
    trace = evaluation.measurement.trace
    if fixture is None or clock is None or trace is None or record.verdict == "ERROR":
        return
    load = evaluation.case.load
    samples = latency_samples(trace) if load.open_loop else throughput_samples(trace, load.batch_size)
    if not samples:
        return
    from pytest_benchmark.fixture import FixtureAlreadyUsed

    # What pytest-benchmark took for the test's parameters is our plan; these it can write down, and group by.
    own = {name: value for name, value in (fixture.params or {}).items() if name != PLAN}
    fixture.params = {**own, **record.load, **record.configuration}
    clock.load(samples)
    try:
        fixture.pedantic(clock.advance, setup=clock.reset, rounds=len(samples))
    except FixtureAlreadyUsed:
        return
    finally:
        clock.release()
    fixture.extra_info.update(_extra(record))


def throughput_samples(trace: Trace, batch_size: int) -> list[float]:
    """Return the seconds by inference of equally large parts of all inferences; their mean is 1 / throughput.

    The boundaries lie between two completions where the number of requests is no multiple of the number of parts.
    """
    import numpy as np

    from pytest_triton.observation import OK

    done = np.sort(trace.done[trace.status == OK] - trace.started_ns) / 1e9
    count = min(_WINDOWS, len(done))
    if not count:
        return []
    moments = np.concatenate([[0.0], done[:-1], [trace.seconds]])
    edges = np.interp(np.linspace(0, len(done), count + 1), np.arange(len(done) + 1), moments)
    samples: list[float] = (np.diff(edges) * count / (len(done) * batch_size)).tolist()
    return samples


def latency_samples(trace: Trace) -> list[float]:
    """Return the latencies of the requests that succeeded, in seconds, in order of completion."""
    from pytest_triton.observation import OK
    from pytest_triton.series import latencies

    samples: list[float] = latencies(trace)[trace.status == OK].tolist()
    return samples


def _extra(record: Record) -> dict[str, Any]:
    """Return what pytest-benchmark keeps along with the samples, in seconds, bytes, per second and fractions."""
    return {
        "key": record.key,
        "model": record.model,
        "configuration": dict(record.configuration),
        "load": dict(record.load),
        "verdict": record.verdict,
        **{name: values["value"] for name, values in record.measurement.items()},
    }
