"""Stands in for ``nvidia-ml-py`` where there is no GPU: those that the environment variable FAKE_GPUS describes.

It is a list, in JSON. Each GPU is a mapping of what NVML would answer about it: ``uuid``, ``name``, ``used`` and
``total`` (bytes), ``utilization`` (per cent), ``power`` (mW; its energy counter follows from that), ``clock`` (MHz),
``reasons`` (bits), and ``slices``, a list of the same. What is missing is not supported. An ``old`` driver lacks what
came with version 535. Without the variable there is no driver.
"""

# ruff: noqa: N802, N816

import json
import os
import time
from types import SimpleNamespace

NVML_CLOCK_SM = 1
NVML_DEVICE_MIG_DISABLE = 0
NVML_DEVICE_MIG_ENABLE = 1
nvmlMemory_v2 = 0x02000028

_gpus = []


class NVMLError(Exception):
    pass


def nvmlInit():
    if "FAKE_GPUS" not in os.environ:
        raise NVMLError("NVML Shared Library Not Found")
    _gpus[:] = json.loads(os.environ["FAKE_GPUS"])


def _get(handle, name):
    if name not in handle:
        raise NVMLError("Not Supported")
    return handle[name]


def nvmlDeviceGetCount():
    return len(_gpus)


def nvmlDeviceGetHandleByIndex(index):
    return _gpus[index]


def nvmlDeviceGetMigMode(handle):
    mode = NVML_DEVICE_MIG_ENABLE if "slices" in handle else NVML_DEVICE_MIG_DISABLE
    return [mode, mode]


def nvmlDeviceGetMaxMigDeviceCount(handle):
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle, index):
    if index >= len(handle["slices"]):
        raise NVMLError("Not Found")
    return handle["slices"][index]


def nvmlDeviceGetUUID(handle):
    return _get(handle, "uuid")


def nvmlDeviceGetName(handle):
    return _get(handle, "name")


def nvmlDeviceGetMemoryInfo(handle, version=None):
    if version is not None and "old" in handle:
        raise NVMLError("Function Not Found")
    return SimpleNamespace(used=_get(handle, "used"), total=_get(handle, "total"))


def nvmlDeviceGetUtilizationRates(handle):
    return SimpleNamespace(gpu=_get(handle, "utilization"))


def nvmlDeviceGetPowerUsage(handle):
    return _get(handle, "power")


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return int(_get(handle, "power") * time.monotonic())


def nvmlDeviceGetClockInfo(handle, kind):
    assert kind == NVML_CLOCK_SM
    return _get(handle, "clock")


def nvmlDeviceGetCurrentClocksEventReasons(handle):
    if "old" in handle:
        raise NVMLError("Function Not Found")
    return _get(handle, "reasons")


def nvmlDeviceGetCurrentClocksThrottleReasons(handle):
    return _get(handle, "reasons")
