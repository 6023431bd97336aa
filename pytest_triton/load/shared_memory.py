"""The tensors of a load in memory that is shared with the server: laid out, registered, and removed for certain."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

from pytest_triton.errors import EngineError, RequestError, ServerDied, ServerError
from pytest_triton.load import regions
from pytest_triton.load.base import Arrays, Extent, Request, RequestSet, SharedRequest
from pytest_triton.load.client_inputs import as_client_inputs
from pytest_triton.load.memory import CudaMemory, Memory, SystemMemory
from pytest_triton.load.process import command_for
from pytest_triton.owner import is_abandoned

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["system", "cuda"]

_POLL = 0.02
_ALIGNED = 64
_PAGE = 4096
_LENGTH = 4
"""Bytes of the length in front of each element of a BYTES tensor."""


class Registry(Protocol):
    """A server's control plane, as far as memory is concerned. ``kind`` is ``system`` or ``cuda``."""

    @property
    def release_route(self) -> Mapping[str, Any] | None:
        """How to have a region forgotten over HTTP, as ``regions.release`` takes it."""

    def server_metadata(self) -> dict[str, Any]:
        """Return the server's ``name`` and more."""

    def register_memory(self, kind: str, name: str, registration: Mapping[str, Any]) -> None:
        """Have the server map a region. Raises ``ServerError``."""

    def unregister_memory(self, kind: str, name: str) -> None:
        """Have the server forget a region, if it knows it. Raises ``ServerError``."""

    def registered_memory(self, kind: str) -> list[str]:
        """List the names of the regions that the server knows. Raises ``ServerError``."""


def measure_room(answers: Iterable[Arrays], datatypes: Mapping[str, str]) -> dict[str, int]:
    """Return how many bytes each output takes, from answers that came over the wire; ``datatypes`` are the outputs'.

    Strings may be longer the next time: a BYTES output gets twice the room, and a page more.
    """
    room: dict[str, int] = {}
    for answer in answers:
        for name, array in answer.items():
            room[name] = max(room.get(name, 0), _size(array, datatypes[name]))
    return room


class SharedTensors:
    """Two regions, one for the inputs of all requests and one for their outputs, for as long as a ``with`` block lasts.

    ``places`` requests may be in flight at a time: each place has outputs of its own for each request. ``sizes`` says
    how many bytes each output takes (``measure_room``). Whatever ends this process, the server forgets the regions and
    the memory is given back: by the end of the block, else by a guard process, else by the next run.

    Raises ``EngineError`` where there is no such memory or the server does not map it, above all because it runs on
    another machine.
    """

    def __init__(
        self, registry: Registry, requests: RequestSet, *, kind: Kind, sizes: Mapping[str, int], places: int
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._kind = kind
        self._places = places
        self._undo = contextlib.ExitStack()
        self._encoded = [_encode(request) for request in requests.requests]
        self._inputs, self._input_size = _lay_out(
            {name: len(data) for name, data in each.items()} for each in self._encoded
        )
        outputs = [_asked_for(request, sizes) for request in requests.requests]
        self._outputs, self._output_size = _lay_out(each for each in outputs for _ in range(places))
        self._names: tuple[str, str] = ("", "")
        self._output_memory: Memory | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            remove_abandoned(self._registry, self._kind)
            server = str(self._registry.server_metadata().get("name", ""))
            self._names = (regions.make_name(server), regions.make_name(server))
            # Before there is anything to guard, so that nothing is ever unguarded.
            undo.enter_context(_guarded(self.regions, self._registry.release_route))
            inputs = self._create(undo, self._names[0], self._input_size)
            inputs.fill(
                [
                    (offset, data)
                    for layout, encoded in zip(self._inputs, self._encoded, strict=True)
                    for (offset, _), data in zip(layout.values(), encoded.values(), strict=True)
                    if data
                ]
            )
            self._encoded.clear()
            self._output_memory = self._create(undo, self._names[1], self._output_size)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._output_memory = None
        self._undo.close()

    @property
    def regions(self) -> list[dict[str, str]]:
        """The regions, as ``load.regions.release`` takes them."""
        return [{"kind": self._kind, "name": name} for name in self._names]

    def request(self, index: int, place: int) -> Request:
        """Return a request as it is sent from ``place``, its tensors in the regions."""
        request = self._requests.requests[index]
        inputs = {name: Extent(self._names[0], *found) for name, found in self._inputs[index].items()}
        outputs = {name: Extent(self._names[1], *found) for name, found in self._answer(index, place).items()}
        return replace(request, outputs=tuple(outputs), shared=SharedRequest(inputs, outputs))

    def requests(self, place: int) -> RequestSet:
        """Return all requests as they are sent from ``place``."""
        count = len(self._requests.requests)
        return replace(self._requests, requests=tuple(self.request(index, place) for index in range(count)))

    def read(
        self, index: int, place: int, described: Mapping[str, tuple[str, Sequence[int]]]
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs of a request's last answer at ``place``; BF16 comes as float32, BYTES as arrays of bytes.

        ``described`` is the data type and shape of each output, as the answer itself says. Raises ``EngineError`` when
        an output has no room in the region.
        """
        if self._output_memory is None:
            raise EngineError("the shared memory is not there any more", hint="Read answers before the load is closed.")
        arrays = {}
        for name, (datatype, shape) in described.items():
            if name not in self._answer(index, place):
                raise EngineError(f"output {name!r} does not lie in shared memory")
            offset, size = self._answer(index, place)[name]
            arrays[name] = _decode(name, self._output_memory.read(offset, size), datatype, shape)
        return arrays

    def _answer(self, index: int, place: int) -> Mapping[str, tuple[int, int]]:
        return self._outputs[index * self._places + place]

    def _create(self, undo: contextlib.ExitStack, name: str, size: int) -> Memory:
        # First, so that nothing that interrupts the next line leaves a block.
        undo.callback(regions.unlink, name)
        memory: Memory = SystemMemory(name, size) if self._kind == "system" else CudaMemory(name, size)
        undo.callback(memory.destroy)
        undo.callback(_forget, self._registry, self._kind, name)
        try:
            self._registry.register_memory(self._kind, name, memory.registration)
        except ServerDied:
            raise
        except ServerError as error:
            raise EngineError(
                f"the server does not take {self._kind} shared memory: {error.problem}",
                hint="It must run on this machine, and in a container share its memory (--ipc=host).",
            ) from error
        return memory


def remove_abandoned(registry: Registry, kind: Kind) -> None:
    """Remove what processes of ours left that were killed: blocks of memory, and what the server still maps of them."""
    regions.remove_abandoned()
    for name in registry.registered_memory(kind):
        if is_abandoned(name):
            registry.unregister_memory(kind, name)


@contextlib.contextmanager
def _guarded(guarded: Sequence[Mapping[str, str]], route: Mapping[str, Any] | None) -> Iterator[None]:
    """Have a process of its own remove the regions when this one is gone before the block's end."""
    job = {"regions": list(guarded), "route": route, "parent": os.getpid()}
    try:
        guard = subprocess.Popen(
            command_for("regions"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What is sent to the whole group, Ctrl-C or a kill, is not for it.
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"the process that guards the shared memory cannot be started: {error}") from error
    assert guard.stdin is not None
    with guard:
        try:
            _tell(guard, json.dumps(job))
            yield
        finally:
            _tell(guard, "done")


def _tell(guard: subprocess.Popen[bytes], line: str) -> None:
    assert guard.stdin is not None
    # Who killed the guard takes away no more than a safety net.
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(line.encode() + b"\n")
        guard.stdin.flush()


def _forget(registry: Registry, kind: Kind, name: str) -> None:
    deadline = time.monotonic() + regions.IN_USE_FOR
    try:
        while True:
            try:
                registry.unregister_memory(kind, name)
                return
            except RequestError as error:
                if not regions.is_in_use(error.problem) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)
    except ServerDied:
        # It has forgotten everything.
        return
    except ServerError as error:
        raise EngineError(
            f"the server keeps the shared memory {name}: {error.problem}", hint="It is free when the server ends."
        ) from error


def _encode(request: Request) -> dict[str, bytes]:
    """Return the bytes of each input, as tritonclient's own encoder makes them."""
    import tritonclient.http

    inputs, _ = as_client_inputs(replace(request, shared=None), tritonclient.http)
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(inputs)
    end = len(body) if json_size is None else json_size
    encoded = {}
    for entry in json.loads(body[:end])["inputs"]:
        size = entry["parameters"]["binary_data_size"]
        encoded[entry["name"]] = body[end : end + size]
        end += size
    return encoded


def _asked_for(request: Request, sizes: Mapping[str, int]) -> Mapping[str, int]:
    for name in request.outputs:
        if name not in sizes:
            raise EngineError(f"nothing is known of the size of output {name!r}", model=request.model)
    return {name: sizes[name] for name in request.outputs} if request.outputs else sizes


def _lay_out(groups: Iterable[Mapping[str, int]]) -> tuple[list[dict[str, tuple[int, int]]], int]:
    """Put tensors of these sizes behind each other. Return offset and size of each, and the size of all."""
    layout, end = [], 0
    for group in groups:
        places = {}
        for name, size in group.items():
            places[name] = (end, size)
            end += -(-size // _ALIGNED) * _ALIGNED
        layout.append(places)
    # No region is empty.
    return layout, max(end, _ALIGNED)


def _size(array: NDArray[np.generic], datatype: str) -> int:
    if datatype == "BYTES":
        return 2 * sum(_LENGTH + len(value) for value in array.ravel().tolist()) + _PAGE
    return array.size * 2 if datatype == "BF16" else array.nbytes


def _decode(name: str, data: bytes, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    from tritonclient.utils import triton_to_np_dtype

    count = int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return _split(name, data, count).reshape(shape)
    dtype = np.dtype(np.uint16 if datatype == "BF16" else triton_to_np_dtype(datatype))
    if count * dtype.itemsize > len(data):
        raise _too_long(name, len(data))
    array = np.frombuffer(data, dtype, count)
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _split(name: str, data: bytes, count: int) -> NDArray[np.object_]:
    values, at = np.empty(count, np.object_), 0
    for index in range(count):
        length = int.from_bytes(data[at : at + _LENGTH], "little")
        at += _LENGTH + length
        if at > len(data):
            raise _too_long(name, len(data))
        values[index] = data[at - length : at]
    return values


def _too_long(name: str, size: int) -> EngineError:
    return EngineError(f"output {name!r} does not fit into its {size} bytes of shared memory")
