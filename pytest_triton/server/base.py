"""The Server protocol: a Triton that was started for us, or that runs somewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pytest_triton.errors import ServerUnavailable
from pytest_triton.observation import ResourceUsage, ServerStatistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from pytest_triton.load.base import TLS
    from pytest_triton.server.gpu_watch import GpuSource


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server listens, each as ``host:port``; None where it does not, or where that is not known.

    HTTP and gRPC are spoken over TLS if there is ``tls``. ``headers`` go along with every request; they may hold
    secrets, and are never shown.
    """

    http: str | None
    grpc: str | None = None
    metrics: str | None = None
    tls: TLS | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def address(self, protocol: Literal["http", "grpc"]) -> str:
        """Return the ``host:port`` for ``protocol``. Raises ``ServerUnavailable`` where none is known."""
        address = self.http if protocol == "http" else self.grpc
        if address is None:
            scheme = protocol if self.tls is None else f"{protocol}s"
            raise ServerUnavailable(
                f"the server's {protocol} endpoint is not known, and a load over {protocol} needs it",
                hint=f"Name it, too: --triton-server=...,{scheme}://host:port (known is {self.http or self.grpc}).",
            )
        return address


class Control(Protocol):
    """The client for a server's control plane, over HTTP or gRPC.

    Its methods raise ``ServerDied`` when the server went away, ``RequestError`` with Triton's reason when it refused.
    ``timeout`` (seconds) bounds a load and an unload, ``request_timeout`` an inference.
    """

    timeout: float
    request_timeout: float

    @property
    def release_route(self) -> Mapping[str, Any] | None:
        """How another process has regions of memory forgotten, as ``load.regions.release`` takes it."""

    def trouble(self) -> str:
        """Say why no live server answers, with what to do about it if that is clear; empty when one does."""

    def server_live(self) -> bool:
        """Say whether the server answers at all."""

    def server_ready(self) -> bool:
        """Say whether the server says that it is ready."""

    def server_metadata(self) -> dict[str, Any]:
        """Return the server's ``name``, ``version`` and ``extensions``."""

    def index(self) -> list[dict[str, Any]]:
        """List the models of the repository: ``name``, and ``version``, ``state``, ``reason`` where known."""

    def load(self, model: str, configuration: ModelConfig | None = None) -> float:
        """Load ``model``, with ``configuration`` instead of its config.pbtxt if given; return the seconds it took.

        Raises ``ModelLoadError`` with Triton's reason.
        """

    def unload(self, model: str) -> None:
        """Unload ``model`` and wait until it is gone. A model that is not loaded is none to unload."""

    def begin_unload(self, model: str) -> None:
        """Tell Triton to unload ``model`` and do not wait for it."""

    def configuration(self, model: str) -> ModelConfig:
        """Return the configuration that the loaded ``model`` runs with, all defaults filled in by Triton."""

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the loaded model's ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs``."""

    def model_ready(self, model: str) -> bool:
        """Say whether ``model`` can be asked."""

    def statistics(self, model: str) -> ServerStatistics:
        """Return Triton's statistics of ``model`` since it was loaded, all versions added up."""

    def all_statistics(self) -> dict[str, ServerStatistics]:
        """Return Triton's statistics of every model that is loaded, each one's versions added up."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[np.generic]],
        datatypes: Mapping[str, str],
        *,
        parameters: Mapping[str, str | int | bool] | None = None,
    ) -> dict[str, NDArray[np.generic]]:
        """Send one request, with its ``parameters``, and return all outputs."""

    def register_memory(self, kind: str, name: str, registration: Mapping[str, Any]) -> None:
        """Have the server map a region of ``system`` or ``cuda`` memory."""

    def unregister_memory(self, kind: str, name: str) -> None:
        """Have the server forget a region of memory, if it knows it."""

    def registered_memory(self, kind: str) -> list[str]:
        """List the names of the regions of ``system`` or ``cuda`` memory that the server maps."""


class Server(Protocol):
    """A Triton server. ``start`` comes first; ``restart`` may follow, any number of times; ``stop`` comes last."""

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
    def control(self) -> Control:
        """The client for its control plane: load, unload, configuration, statistics. Only after ``start``."""

    @property
    def repository(self) -> Path | None:
        """The model repository it serves, if it is one on this machine."""

    @property
    def log(self) -> Path | None:
        """The file its log goes to, if it is known."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of ``tritonserver`` that ``restart`` gave it besides its usual ones; names have ``_``."""

    @property
    def completes(self) -> bool:
        """Whether it completes configurations as it loads models, which Triton does unless it is told not to."""

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises ``ServerUnavailable`` when none can be started here, ``ServerStartError`` when it did not
        become ready.
        """

    def stop(self) -> None:
        """End it and everything it started. Safe to call at any time."""

    def restart(self, options: Mapping[str, Any]) -> None:
        """End it, if it still runs, and start it with ``options`` besides its usual ones. No model is loaded then.

        Raises what ``start`` does, and ``ServerUnavailable`` when it is not ours to start.
        """

    def check(self) -> None:
        """Raise ``ServerDied``, with the log's last lines, when it no longer runs."""

    def usage(self) -> ResourceUsage:
        """Return what its processes use at this moment."""

    @property
    def gpu_source(self) -> GpuSource | None:
        """What tells what its GPUs do: NVML where they are here, else its metrics. None where neither can."""

    def alias(self, model: str, number: int = 1) -> str | None:
        """Return another name under which ``model`` can be loaded beside itself, or None if it cannot.

        With one, two configurations of a model are compared in alternation without a reload between them; with
        several, by their ``number``, more than two.
        """
