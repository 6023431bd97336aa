"""The Server protocol: a Triton that was started for us, or that runs somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_triton.observation import ResourceUsage
from pytest_triton.server.control import ModelControl


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server listens, each as ``host:port``; None where it does not."""

    http: str
    grpc: str | None = None
    metrics: str | None = None


class Server(Protocol):
    """A Triton server. ``start`` and ``stop`` may be called once each, in this order."""

    @property
    def kind(self) -> str:
        """``embedded``, ``local``, ``docker`` or ``remote``."""

    @property
    def description(self) -> str:
        """One line for the header: which server, which version, where from."""

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens. Only after ``start``."""

    @property
    def control(self) -> ModelControl:
        """The client for its control plane: load, unload, configuration, statistics. Only after ``start``."""

    @property
    def repository(self) -> Path | None:
        """The model repository it serves, if it is one on this machine."""

    @property
    def log(self) -> Path | None:
        """The file its log goes to, if it is known."""

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises ``ServerUnavailable`` when none can be started here, ``ServerStartError`` when it did not
        become ready.
        """

    def stop(self) -> None:
        """End it and everything it started. Safe to call at any time."""

    def check(self) -> None:
        """Raise ``ServerDied``, with the log's last lines, when it no longer runs."""

    def usage(self) -> ResourceUsage:
        """Return what its processes use at this moment."""

    def alias(self, model: str) -> str | None:
        """Return a second name under which ``model`` can be loaded beside itself, or None if it cannot.

        With it, two configurations of one model are compared in alternation without a reload between them.
        """
