"""The devices that a run measures on, and its lease on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from pytest_triton.lease import is_busy, lease
from pytest_triton.plugin import options, values
from pytest_triton.server.gpus import GpuChoice, choose_gpus

if TYPE_CHECKING:
    from pytest_triton.plugin.progress import ProgressLine

_TOLD: pytest.StashKey[bool] = pytest.StashKey()
_CHOSEN: pytest.StashKey[GpuChoice] = pytest.StashKey()


def chosen(config: pytest.Config) -> GpuChoice:
    """Return the GPUs that ``--triton-gpus`` names, found out once; a worker of pytest-xdist has one of several.

    Of a server that runs elsewhere none is known unless they are named. Raises ``OptionError``.
    """
    if _CHOSEN not in config.stash:
        wanted = values.gpus(config)
        gpus = choose_gpus(wanted) if wanted or not options.is_remote(config) else GpuChoice()
        worker = getattr(config, "workerinput", None)
        if worker is not None and not options.is_remote(config):
            gpus = gpus.share(int(worker["workerid"].removeprefix("gw")), worker["workercount"])
        config.stash[_CHOSEN] = gpus
    return config.stash[_CHOSEN]


@contextmanager
def hold(config: pytest.Config, progress: ProgressLine, subject: str) -> Iterator[None]:
    """Hold the devices while ``subject`` is measured. Raises ``LeaseError`` when they do not become free in time."""
    timeout = values.duration(config, "wait")
    assert timeout is not None

    def tell(text: str) -> None:
        progress.say(text)
        if not progress.visible:
            _write(config, f"triton: {text}")

    with lease(
        {gpu.uuid: f"GPU {gpu.index}" for gpu in chosen(config).gpus},
        timeout=timeout,
        waiting=tell,
        folder=options.folder(config, "lease-folder"),
        purpose=f"pytest in {config.rootpath}, {subject}",
    ):
        yield


def _write(config: pytest.Config, line: str) -> None:
    """Write a line among the results, once: where no progress is shown, what else would say why nothing happens?"""
    reporter, capture = (config.pluginmanager.getplugin(name) for name in ("terminalreporter", "capturemanager"))
    if reporter is None or config.get_verbosity() < 0 or config.stash.get(_TOLD, False):
        return
    config.stash[_TOLD] = True
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_line(line)


def busy(config: pytest.Config) -> bool:
    """Tell whether anybody measures on this machine just now."""
    return is_busy(folder=options.folder(config, "lease-folder"))
