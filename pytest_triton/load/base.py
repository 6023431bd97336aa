"""The Engine protocol: how a load is sent and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pytest_triton.case import Load
from pytest_triton.correctness import TOLERANCES, Tolerance
from pytest_triton.observation import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Arrays = Mapping[str, "NDArray[np.generic]"]


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a shared-memory region that is registered with the server; ``offset`` and ``size`` in bytes."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class SharedRequest:
    """Where in shared memory a request's tensors lie, and where its answer's go, by their names."""

    inputs: Mapping[str, Extent]
    outputs: Mapping[str, Extent]


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request before it is encoded. Arrays carry the batch dimension if the model batches.

    ``datatypes`` names Triton's data type of each input (``FP32``, ``BYTES``, ...). ``outputs`` empty
    asks for all of them. ``expected`` is what the answer must be, as far as that is known. ``parameters`` are sent
    along with the request. With ``shared`` the tensors lie in memory that the server reads and writes, and only their
    places are sent.
    """

    model: str
    inputs: Arrays
    datatypes: Mapping[str, str]
    outputs: tuple[str, ...] = ()
    expected: Arrays | None = None
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict)
    shared: SharedRequest | None = None


@dataclass(frozen=True, slots=True)
class RequestSet:
    """Different requests, and in which order they are sent.

    Each stream is a list of indices into ``requests``. Without sequences the streams are sent one after the other, and
    then anew; with sequences, each sequence takes the next stream and begins it anew when it is longer.
    """

    requests: tuple[Request, ...]
    streams: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, *requests: Request) -> RequestSet:
        """Put ``requests`` into one stream, in this order."""
        return cls(requests, (tuple(range(len(requests))),))


@dataclass(frozen=True, slots=True)
class TLS:
    """How a server is known, and the client to it. Paths of PEM files; empty ``authorities`` are the system's own."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine is to send, and where.

    ``address`` is ``host:port`` of the server's endpoint for the load's protocol. A request without an answer after
    ``timeout`` seconds is a failure. ``headers`` go along with every request. ``seed`` fixes the arrivals and the
    lengths of sequences. ``validate`` says which answers are compared with what the requests expect, and
    ``tolerances`` how far they may be from it. ``workers`` processes share the load. ``string_ids`` gives sequences
    correlation ids that are strings.
    """

    address: str
    load: Load
    requests: RequestSet
    timeout: float = 60.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: TLS | None = None
    seed: int = 0
    validate: Literal["none", "sample", "all"] = "none"
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: TOLERANCES)
    workers: int = 1
    string_ids: bool = False


class LoadSession(Protocol):
    """A running load. Leaving its ``with`` block ends the load and everything that served it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @property
    def hopeless(self) -> str:
        """Why nothing can succeed any more, as of the last trace; empty while something may."""

    @property
    def shortest(self) -> float:
        """The shortest time, in seconds, that is worth a ``collect``; 0 where each goes on where the last ended."""

    def start(self) -> None:
        """Begin to send. The connections are open already."""

    def collect(self, *, seconds: float, requests: int = 0, limit: float | None = None) -> Trace:
        """Let the load go on until ``seconds`` have passed and ``requests`` more have completed.

        Give up waiting for ``requests`` after ``limit`` seconds (never less than ``seconds``). Return
        every request completed since the last call. The load keeps running when this returns.
        """

    def stop(self) -> Trace:
        """Stop sending, wait for what is in flight, and return what completed since the last call."""


class Engine(Protocol):
    """A load generator."""

    @property
    def name(self) -> str:
        """The name the user chooses it by."""

    @property
    def workers(self) -> int:
        """How many processes share a load; 0 leaves it to how busy they are."""

    def refusal(self, load: Load) -> str | None:
        """Say why this engine cannot send ``load``, or None if it can."""

    def open(self, plan: Plan) -> LoadSession:
        """Encode the requests and open the connections, before any clock starts.

        Raises ``EngineError`` when the load cannot be sent or the server cannot be reached.
        """
