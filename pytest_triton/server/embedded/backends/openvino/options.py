"""``parameters`` of a model configuration -> properties of OpenVINO, as the official backend reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..common.parameters import find_unknown, read_parameters
from ..common.refusal import RefusalError

SWITCHES = ("SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING", "RESHAPE_IO_LAYERS")
EXTENSION = "CPU_EXTENSION_PATH"
DEVICE = "TARGET_DEVICE"
HINTS = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is prepared and compiled. ``properties`` are the device's."""

    properties: Mapping[str, int | str] = field(default_factory=dict)
    device: str = "CPU"
    extension: str = ""
    auto_batching: bool = False
    padding: bool = False
    reshape: bool = False
    warnings: tuple[str, ...] = ()


def read_options(config: Mapping[str, Any]) -> Options:
    """Read the options of a model. Raises ``RefusalError`` with the parameter and its value.

    A switch is on for YES alone, as in the official backend; what is neither that nor NO gets a warning.
    """
    parameters = read_parameters(config)
    properties: dict[str, int | str] = {}
    for name, read in _PROPERTIES.items():
        if parameters.get(name):
            key, value = read(name, parameters[name])
            properties[key] = value
    on = {name: parameters.get(name, "").upper() == "YES" for name in SWITCHES}
    odd = [name for name in SWITCHES if parameters.get(name, "").upper() not in ("", "YES", "NO")]
    warnings = [f"parameter {name}: '{parameters[name]}' is not YES, so it is off" for name in odd]
    unknown = find_unknown(parameters, {*_PROPERTIES, *SWITCHES, EXTENSION, DEVICE})
    if unknown:
        warnings.append(f"parameters that mean nothing to openvino: {', '.join(unknown)}")
    return Options(
        properties=properties,
        device=parameters.get(DEVICE, "").upper() or "CPU",
        extension=parameters.get(EXTENSION, ""),
        auto_batching=config.get("max_batch_size", 0) > 0 and not on["SKIP_OV_DYNAMIC_BATCHSIZE"],
        padding=on["ENABLE_BATCH_PADDING"],
        reshape=on["RESHAPE_IO_LAYERS"],
        warnings=tuple(warnings),
    )


def _read_number(name: str, text: str) -> tuple[str, int]:
    if not text.isdecimal():
        raise _unexpected(name, "a non-negative number", text)
    return name, int(text)


def _read_streams(name: str, text: str) -> tuple[str, int | str]:
    if text.upper() in ("AUTO", "NUMA"):
        return name, text.upper()
    if not text.isdecimal():
        raise _unexpected(name, "either AUTO/NUMA/<int_value>", text)
    return name, int(text)


def _read_hint(name: str, text: str) -> tuple[str, str]:
    if text.upper() not in HINTS:
        raise _unexpected(name, "/".join(HINTS), text)
    return name, text.upper()


def _read_bfloat16(name: str, text: str) -> tuple[str, str]:
    if text.upper() != "YES":
        raise _unexpected(name, "YES", text)
    return "INFERENCE_PRECISION_HINT", "bf16"


def _unexpected(name: str, expected: str, text: str) -> RefusalError:
    return RefusalError(f"expected the parameter '{name}' to be {expected}, got '{text}'")


_PROPERTIES: Mapping[str, Callable[[str, str], tuple[str, int | str]]] = {
    "INFERENCE_NUM_THREADS": _read_number,
    "COMPILATION_NUM_THREADS": _read_number,
    "HINT_BF16": _read_bfloat16,
    "NUM_STREAMS": _read_streams,
    "PERFORMANCE_HINT": _read_hint,
}
