"""One region of memory that this process shares with a server on the same machine: system memory, or a GPU's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from pytest_triton.errors import EngineError
from pytest_triton.load import regions

Pieces = Sequence[tuple[int, bytes]]
"""What lies where: an offset and the bytes from there on."""


class Memory(Protocol):
    """A region that was created and is filled. ``destroy`` may be called once, whatever happened before."""

    @property
    def registration(self) -> Mapping[str, Any]:
        """What Triton must be told of it, as its HTTP API takes it."""

    def fill(self, pieces: Pieces) -> None:
        """Write ``pieces``, which neither overlap nor go back."""

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of ``size`` bytes from ``offset`` on."""

    def destroy(self) -> None:
        """Give the memory back."""


class SystemMemory:
    """A block of POSIX shared memory, with all its pages in place."""

    def __init__(self, name: str, size: int) -> None:
        """Raises ``EngineError`` when there is no room for ``size`` bytes."""
        from tritonclient.utils import shared_memory

        self._utilities = shared_memory
        self._name, self._size = name, size
        try:
            self._handle = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
        except shared_memory.SharedMemoryException as error:
            raise _no_room(size, error.__cause__ or error) from error
        try:
            # Pages come when they are written, and where there are none left the writer is killed: the server.
            descriptor = os.open(regions.SHARED_MEMORY / name, os.O_RDWR)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.destroy()
            raise _no_room(size, error) from error

    @property
    def registration(self) -> Mapping[str, Any]:
        """What Triton must be told of it."""
        return {"key": f"/{self._name}", "offset": 0, "byte_size": self._size}

    def fill(self, pieces: Pieces) -> None:
        """Write ``pieces``."""
        for offset, data in pieces:
            self._utilities.set_shared_memory_region(self._handle, [np.frombuffer(data, np.uint8)], offset)

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of ``size`` bytes from ``offset`` on."""
        view = self._utilities.get_contents_as_numpy(self._handle, np.uint8, [size], offset)
        return bytes(view.tobytes())

    def destroy(self) -> None:
        """Remove the block."""
        try:
            self._utilities.destroy_shared_memory_region(self._handle)
        except FileNotFoundError:
            # The server's end has removed all that bears its name.
            return
        finally:
            regions.unlink(self._name)


class CudaMemory:
    """Memory of a GPU, which the server opens by its handle."""

    def __init__(self, name: str, size: int, *, device: int = 0) -> None:
        """Raises ``EngineError`` that names what is missing: a package, a GPU, room on it."""
        self._utilities = _cuda_utilities()
        self._size, self._device = size, device
        try:
            self._handle = self._utilities.create_shared_memory_region(name, size, device)
        except self._utilities.CudaSharedMemoryException as error:
            raise EngineError(
                f"no {_mebibytes(size)} of memory can be shared on GPU {device}: {error.__cause__ or error}",
                hint="shared_memory='cuda' takes an NVIDIA GPU with its driver on the machine that sends the load and "
                "runs the server; shared_memory='system' takes none.",
            ) from error

    @property
    def registration(self) -> Mapping[str, Any]:
        """What Triton must be told of it."""
        handle = self._utilities.get_raw_handle(self._handle).decode()
        return {"raw_handle": {"b64": handle}, "device_id": self._device, "byte_size": self._size}

    def fill(self, pieces: Pieces) -> None:
        """Write ``pieces``, and zeros between them."""
        whole = np.zeros(self._size, np.uint8)
        for offset, data in pieces:
            whole[offset : offset + len(data)] = np.frombuffer(data, np.uint8)
        self._utilities.set_shared_memory_region(self._handle, [whole])

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of ``size`` bytes from ``offset`` on."""
        whole = self._utilities.get_contents_as_numpy(self._handle, np.uint8, [self._size])
        return bytes(whole[offset : offset + size].tobytes())

    def destroy(self) -> None:
        """Free the memory."""
        self._utilities.destroy_shared_memory_region(self._handle)
        del self._handle


def _cuda_utilities() -> ModuleType:
    try:
        from tritonclient.utils import cuda_shared_memory
    except (ImportError, RuntimeError) as error:
        raise EngineError(
            f"shared_memory='cuda' needs the package cuda-python: {error}",
            hint="Install it (pip install cuda-python), or write shared_memory='system'.",
        ) from error
    module: ModuleType = cuda_shared_memory
    return module


def _no_room(size: int, reason: BaseException) -> EngineError:
    try:
        status = os.statvfs(regions.SHARED_MEMORY)
        free = f", {_mebibytes(status.f_bavail * status.f_frsize)} are free"
    except OSError:
        free = ""
    return EngineError(
        f"no {_mebibytes(size)} of shared memory can be had: {reason}{free}",
        hint="Send fewer different requests or at a lower concurrency, or give the container more (--shm-size).",
    )


def _mebibytes(size: int) -> str:
    return f"{max(size / 2**20, 0.1):.1f} MiB"
