"""The GPUs of this machine through NVML, NVIDIA's management library: which there are, and what they are doing.

The one module that knows ``pynvml`` (the package ``nvidia-ml-py``), which is loaded when it is first asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pytest_triton.observation import GpuFigures, add_up_figures

_HW_SLOWDOWN = 0x08
_SLOWDOWNS = {
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake slowdown",
    _HW_SLOWDOWN: "HW slowdown",
}
"""Why clocks are held down though there is work for them: NVML's bits, in the words of ``nvidia-smi -q``.

Not the power cap (0x04): a large model lives at it, and it is a setting of the machine like another.
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine, or a slice of one (MIG), which counts as a device of its own.

    ``uuid`` is what CUDA and Docker know it by: ``GPU-...`` or ``MIG-...``. ``index`` is what ``nvidia-smi`` counts,
    ``1``, or ``1:0`` for the first slice of that GPU. ``memory`` is in bytes, None where it is not told.
    """

    uuid: str
    index: str
    name: str
    memory: int | None = None

    def __str__(self) -> str:
        return self.name if self.memory is None else f"{self.name} {self.memory // 2**20} MiB"

    @property
    def sliced(self) -> bool:
        """Whether it is a slice of a GPU."""
        return ":" in self.index


def list_gpus() -> tuple[Gpu, ...]:
    """List the GPUs of this machine in the order of ``nvidia-smi``, those that are sliced as their slices."""
    nvml, _ = _open()
    return tuple(gpu for gpu, _ in _devices(nvml)) if nvml is not None else ()


def trouble() -> str:
    """Say why no GPU can be listed; empty where NVML works."""
    _, problem = _open()
    return problem


class NvmlReader:
    """Reads what ``gpus`` are doing. One that is lost meanwhile is one that nothing is known of."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._nvml, _ = _open()
        wanted = {gpu.uuid for gpu in gpus}
        found = list(_devices(self._nvml)) if self._nvml is not None else []
        self._handles = [handles for gpu, handles in found if gpu.uuid in wanted]

    def __call__(self) -> GpuFigures:
        """Return their figures at this moment, added up."""
        return add_up_figures([self._read(handles) for handles in self._handles])

    def _read(self, handles: _Handles) -> GpuFigures:
        nvml, own, whole = self._nvml, handles.own, handles.whole
        memory = _memory(nvml, own)
        # What a whole GPU does is not what its slice does, and NVML knows no more of that.
        load = None if own is not whole else own
        rates = _ask(nvml, "nvmlDeviceGetUtilizationRates", load)
        return GpuFigures(
            memory=memory.used if memory is not None else None,
            total=memory.total if memory is not None else None,
            utilization=rates.gpu / 100 if rates is not None else None,
            power=_times(1e-3, _ask(nvml, "nvmlDeviceGetPowerUsage", load)),
            energy=_times(1e-3, _ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", load)),
            clock=_times(1e6, _ask(nvml, "nvmlDeviceGetClockInfo", whole, nvml.NVML_CLOCK_SM)),
            slowdowns=_slowdowns(nvml, whole),
            at_ns=time.monotonic_ns(),
        )


@dataclass(frozen=True, slots=True)
class _Handles:
    """NVML's handles of a device: its own, and that of the GPU that it is, or is a slice of."""

    own: Any
    whole: Any


@cache
def _open() -> tuple[Any, str]:
    """Return NVML, ready to be asked, or None and why there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML: {error}"
    return pynvml, ""


def _devices(nvml: Any) -> Iterator[tuple[Gpu, _Handles]]:
    for index in range(_ask(nvml, "nvmlDeviceGetCount") or 0):
        handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
        if mode is None or mode[0] == nvml.NVML_DEVICE_MIG_DISABLE:
            yield _describe(nvml, handle, str(index)), _Handles(handle, handle)
            continue
        for number in range(_ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            part = _ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if part is not None:
                yield _describe(nvml, part, f"{index}:{number}"), _Handles(part, handle)


def _describe(nvml: Any, handle: Any, index: str) -> Gpu:
    memory = _memory(nvml, handle)
    return Gpu(
        uuid=str(_ask(nvml, "nvmlDeviceGetUUID", handle) or ""),
        index=index,
        name=str(_ask(nvml, "nvmlDeviceGetName", handle) or "GPU"),
        memory=memory.total if memory is not None else None,
    )


def _memory(nvml: Any, handle: Any) -> Any:
    """Ask for memory as ``nvidia-smi`` shows it; older drivers count what they reserve for themselves as used."""
    newer = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle, nvml.nvmlMemory_v2)
    return newer if newer is not None else _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)


def _slowdowns(nvml: Any, handle: Any) -> frozenset[str] | None:
    bits = _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if bits is None:  # a driver before 535 knows it by its former name
        bits = _ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    if bits is None:
        return None
    reasons = [bit for bit in _SLOWDOWNS if bits & bit]
    # The general one goes along with the one that says what it was.
    return frozenset(_SLOWDOWNS[bit] for bit in reasons if bit != _HW_SLOWDOWN or reasons == [_HW_SLOWDOWN])


def _ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """Ask NVML; None for what this device, driver, user or version does not get."""
    question = getattr(nvml, name, None)
    if question is None or None in arguments:
        return None
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _times(factor: float, value: int | None) -> float | None:
    return value * factor if value is not None else None
