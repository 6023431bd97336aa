"""The ``perf_analyzer`` engine: NVIDIA's own load generator, for who wants its numbers under our protocol."""

from __future__ import annotations

import contextlib
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pytest_triton.case import Load, Phases
from pytest_triton.errors import EngineError
from pytest_triton.load.base import Plan
from pytest_triton.load.description import read_intervals
from pytest_triton.load.perf_analyzer_export import BrokenExport, Clock, Export, read_export
from pytest_triton.load.perf_analyzer_inputs import describe_inputs
from pytest_triton.load.perf_analyzer_program import EXPORT, Binary, Program
from pytest_triton.load.served_model import ServedModel, ask_model
from pytest_triton.observation import Trace

_INPUTS, _INTERVALS = "inputs.json", "intervals.txt"
_WINDOWS = 3
"""Perf Analyzer ends when three windows agree. Any do: its judgement is turned off."""

_LAST_ID = 2**31 - 1_000_000
_OUTPUT_SIZE = 1 << 20
_ATTEMPTS = 3
_SLACK = 30.0
_OVERTIME = 1.2
"""How much longer a window of Perf Analyzer lasts than it was told."""


class PerfAnalyzerEngine:
    """Runs the program ``perf_analyzer``, once for each window.

    Latency counts from when it really sent a request, whatever it should have; a failed request ends its run; its
    processes' threads are its own choice, not ``Plan.workers``. The first third of each run, in which it connects, is
    left out.
    """

    name = "perf_analyzer"
    workers = 1

    def __init__(self, program: str | Callable[[], Program] = "") -> None:
        """``program`` is the binary's path; empty, it is the one on PATH. Or it finds the program when called."""
        self._program = program

    def refusal(self, load: Load) -> str | None:
        """Say why this engine cannot send ``load``, or None if it can."""
        if not isinstance(load.concurrency, int) or load.concurrency < 1:
            return f"Perf Analyzer needs a concurrency of at least 1, not {load.concurrency!r}"
        if isinstance(load.rate, Phases):
            return "Perf Analyzer cannot change its rate as Phases say"
        if load.rate == "auto":
            return "Perf Analyzer needs a rate in numbers, not 'auto'"
        if load.streaming and load.protocol != "grpc":
            return "only gRPC streams: write protocol='grpc'"
        if load.shared_memory == "cuda":
            return "the perf_analyzer engine does not send through CUDA shared memory"
        length = load.sequence_length
        if length is not None and load.batch_size > 1:
            return "Perf Analyzer sends sequences of single inferences only"
        if isinstance(length, tuple) and length[0] != length[1]:
            return f"Perf Analyzer does not draw the lengths of sequences evenly from {length}; write one length"
        return None

    def open(self, plan: Plan) -> PerfAnalyzerSession:
        """Find the program, ask the server for the model, write the inputs down. Raises ``EngineError``."""
        refusal = self.refusal(plan.load)
        if refusal:
            raise EngineError(refusal)
        _check_plan(plan)
        find = self._program
        model = ask_model(plan)
        return PerfAnalyzerSession(find() if callable(find) else Binary.find(find), plan, model)


def _check_plan(plan: Plan) -> None:
    """Raise ``EngineError`` for what of a plan beside its load Perf Analyzer cannot do."""
    if not plan.requests.requests or not any(plan.requests.streams):
        raise EngineError("there is no request to send")
    refused = {
        "send to a server over TLS": plan.tls is not None,
        "send headers, because its command line would show them to everyone on this machine": bool(plan.headers),
        "compare answers while the load runs": plan.validate != "none",
        "give sequences correlation ids that are strings": plan.string_ids and plan.load.sequence_length is not None,
        "send requests with parameters": any(request.parameters for request in plan.requests.requests),
        # In shared memory the outputs are named, and all of them; it makes regions of its own.
        "ask for some of the outputs": any(
            request.outputs and not request.shared for request in plan.requests.requests
        ),
        "load several models at once": len({request.model for request in plan.requests.requests}) > 1,
    }
    for what, asked in refused.items():
        if asked:
            raise EngineError(f"the perf_analyzer engine cannot {what}", hint="Choose --triton-engine=wire.")


class PerfAnalyzerSession:
    """A load that is sent only while a trace is collected, each time by a process that starts and ends with it."""

    shortest = 1.0
    hopeless = ""

    def __init__(self, program: Program, plan: Plan, model: ServedModel) -> None:
        self._program = program
        self._plan = plan
        self._model = model
        with contextlib.ExitStack() as resources:
            resources.callback(program.close)
            folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="pytest-triton-"))
            self._folder = Path(folder)
            described = json.dumps(describe_inputs(plan, batched=model.batches))
            (self._folder / _INPUTS).write_text(described, encoding="utf-8")
            if _has_intervals(plan.load):
                intervals = "\n".join(str(interval) for interval in read_intervals(Path(plan.load.arrivals)))
                (self._folder / _INTERVALS).write_text(f"{intervals}\n", encoding="utf-8")
            self._resources = resources.pop_all()
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def start(self) -> None:
        """Be ready; Perf Analyzer sends when a trace is collected."""
        if self._running:
            raise EngineError("a load session starts once", hint="Open another one.")
        self._running = True

    def collect(self, *, seconds: float, requests: int = 0, limit: float | None = None) -> Trace:
        """Run Perf Analyzer for ``seconds``, and for longer if fewer than ``requests`` completed.

        After ``limit`` seconds the longest run counts as it is; it is never shorter than ``shortest``.
        """
        if not self._running:
            raise EngineError("there is no load to collect from", hint="Call start() before, and stop() after.")
        seconds = max(seconds, self.shortest)
        end = time.monotonic() + (self._plan.timeout + requests if limit is None else limit)
        while True:
            trace = self._run(seconds)
            # Each run begins anew, so that what a shorter one found is no part of a longer one.
            seconds *= 2 * min(max(1.0, requests / len(trace) if len(trace) else 1.0), 8.0)
            if (len(trace) and len(trace) >= requests) or time.monotonic() >= end:
                return trace

    def stop(self) -> Trace:
        """Return an empty trace: nothing is in flight between the runs."""
        if not self._running:
            raise EngineError("there is no load to stop", hint="Call start() before, and stop() once.")
        self._running = False
        now = time.monotonic_ns()
        return self._as_trace(Export.empty(now, now), 0.0)

    def _run(self, seconds: float) -> Trace:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(BrokenExport):
                return self._run_once(seconds)
        return self._run_once(seconds)

    def _run_once(self, seconds: float) -> Trace:
        window = seconds / (_WINDOWS - 1)
        path = self._folder / EXPORT
        path.unlink(missing_ok=True)
        words = [*self._words(), "--measurement-interval", str(math.ceil(window * 1000))]
        words += ["--max-trials", str(_WINDOWS), "--stability-percentage", "999999"]
        clock, began = Clock(), time.monotonic_ns()
        timeout = window * _WINDOWS * _OVERTIME + self._plan.timeout + _SLACK
        ran = self._program.run(words, folder=self._folder, timeout=timeout)
        ended = time.monotonic_ns()
        if ran.empty:
            return self._as_trace(Export.empty(began, ended), ran.cpu_seconds)
        export = read_export(path, clock.offset(), final_marks=self._model.final_marks)
        return self._as_trace(export, ran.cpu_seconds * export.seconds / ((ended - began) / 1e9))

    def _words(self) -> Iterator[str]:
        plan, load = self._plan, self._plan.load
        yield from ("-m", plan.requests.requests[0].model, "-u", plan.address, "-i", load.protocol)
        yield from ("--input-data", _INPUTS, "-b", str(load.batch_size))
        if load.streaming:
            yield "--streaming"
        if load.shared_memory != "none":
            size = max(sum(array.nbytes for array in request.inputs.values()) for request in plan.requests.requests)
            yield from ("--shared-memory", load.shared_memory)
            yield from ("--output-shared-memory-size", str(max(_OUTPUT_SIZE, 4 * size)))
        if load.sequence_length is not None:
            length = load.sequence_length
            length = length[0] if isinstance(length, tuple) else length
            yield from ("--sequence-length", str(length), "--sequence-length-variation", "0")
            # Not the ids of the run before, of whose sequences some were cut off.
            yield from ("--sequence-id-range", str(random.SystemRandom().randrange(1, _LAST_ID)))
        if not load.open_loop:
            yield from ("--concurrency-range", str(load.concurrency), "--max-threads", str(max(16, load.concurrency)))
            return
        yield "--async"  # or it would wait for answers before it sends the next request that is due
        if load.sequence_length is not None:
            yield from ("--num-of-sequences", str(load.concurrency), "--serial-sequences")
        if load.rate is not None:
            yield from ("--request-rate-range", str(load.rate), "--request-distribution", load.arrivals)
        else:
            yield from ("--request-intervals", _INTERVALS)

    def _as_trace(self, export: Export, cpu_seconds: float) -> Trace:
        load = self._plan.load
        assert isinstance(load.concurrency, int)
        dispatched = export.count_sent() if load.open_loop else 0
        return Trace(
            scheduled=export.sent,
            sent=export.sent,
            first_response=export.first,
            done=export.done,
            status=export.status,
            started_ns=export.started_ns,
            ended_ns=export.ended_ns,
            cpu_seconds=cpu_seconds,
            busiest=0.0,  # it has several threads, and says nothing about any
            concurrency=0 if load.open_loop else load.concurrency,
            sequence=export.sequence if load.sequence_length is not None else None,
            responses=export.responses if load.streaming else None,
            response_at=export.response_at if load.streaming else None,
            offered=max(dispatched, _fewest_due(load, export.seconds)) if load.open_loop else 0,
            dispatched=dispatched,
        )


def _has_intervals(load: Load) -> bool:
    """Say whether the load's ``arrivals`` name a file."""
    return load.open_loop and load.rate is None


def _fewest_due(load: Load, seconds: float) -> int:
    """Return how many requests must have become due in ``seconds``.

    Perf Analyzer does not say when they were. A Poisson process has fewer than its mean less four standard deviations
    once in 30,000 times.
    """
    if load.rate is None:
        intervals = read_intervals(Path(load.arrivals))
        rate = 1e6 * len(intervals) / sum(intervals)
    else:
        assert isinstance(load.rate, int | float)
        rate = load.rate
    due = rate * seconds
    return max(0, math.floor(due - 4 * math.sqrt(due) if load.arrivals != "constant" else due - 1))
