"""Reading what GPUs do while a load runs, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from pytest_triton.gpu_usage import summarise
from pytest_triton.observation import GpuFigures, GpuUsage, ResourceUsage
from pytest_triton.server.base import Endpoints
from pytest_triton.server.gpu import read_gpu_figures
from pytest_triton.server.gpus import GpuChoice
from pytest_triton.server.nvml import NvmlReader
from pytest_triton.server.transport import Unreachable, ask

NVML_INTERVAL = 0.1
METRICS_INTERVAL = 0.5
"""Triton refreshes its figures every 2 s unless it is told otherwise, as the servers that we start are."""
_PATIENCE = 2.0
"""Seconds that metrics are waited for."""


@dataclass(frozen=True, slots=True)
class GpuSource:
    """What tells what a server's GPUs do: ``read`` never fails, and says something new every ``interval`` seconds."""

    read: Callable[[], GpuFigures]
    interval: float


def choose_source(gpus: GpuChoice, endpoints: Endpoints) -> GpuSource | None:
    """Return the source for a server that may use ``gpus`` of this machine: NVML, or without any Triton's metrics.

    None where there is neither.
    """
    if gpus.gpus:
        return GpuSource(NvmlReader(gpus.gpus), NVML_INTERVAL)
    if endpoints.metrics is None:
        return None
    return GpuSource(partial(ask_metrics, endpoints), METRICS_INTERVAL)


def ask_metrics(endpoints: Endpoints) -> GpuFigures:
    """Return what the server's metrics say about its GPUs; nothing where they cannot be had, for they are optional."""
    assert endpoints.metrics is not None
    try:
        reply = ask(
            endpoints.metrics,
            "GET",
            "/metrics",
            headers=endpoints.headers,
            timeout=_PATIENCE,
            tls=endpoints.tls,
        )
    except Unreachable:
        return GpuFigures()
    return read_gpu_figures(reply.body.decode("utf-8", "replace")) if reply.ok else GpuFigures()


def add_gpu_memory(usage: ResourceUsage, source: GpuSource | None) -> ResourceUsage:
    """Return ``usage`` with the GPU memory that is in use at this moment, as far as ``source`` knows it."""
    gpu = source.read() if source is not None else GpuFigures()
    return replace(usage, gpu_memory=gpu.memory, gpu_memory_total=gpu.total)


class GpuWatch:
    """Reads ``source`` from the beginning of the ``with`` block to its end. Without a GPU no thread is started."""

    def __init__(self, source: GpuSource | None) -> None:
        self._source = source
        self._readings: list[GpuFigures] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuWatch:
        if self._source is not None and self._read(self._source).known:
            self._thread = threading.Thread(target=self._watch, args=(self._source,), name="gpu-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def usage(self) -> GpuUsage | None:
        """Return what the GPUs did so far, this moment included; None where nothing is known of any."""
        if self._source is None or self._thread is None:
            return None
        self._read(self._source)
        return summarise(sorted(self._readings, key=lambda reading: reading.at_ns))

    def _watch(self, source: GpuSource) -> None:
        while not self._over.wait(source.interval):
            self._read(source)

    def _read(self, source: GpuSource) -> GpuFigures:
        figures = source.read()
        self._readings.append(figures)
        return figures
