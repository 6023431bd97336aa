"""Kind of an instance and ``optimization.execution_accelerators`` -> ONNX Runtime's execution providers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..common.refusal import RefusalError
from .options import CUDA_PARAMETERS

Provider = tuple[str, dict[str, str]]

CPU, CUDA, TENSORRT, OPENVINO = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt", "OpenVINO"))
ACCELERATORS = {"gpu": {"tensorrt": TENSORRT, "cuda": CUDA}, "cpu": {"openvino": OPENVINO}}
ENUMERATED = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
PRECISIONS = {"FP32": None, "FP16": "trt_fp16_enable", "BF16": "trt_bf16_enable", "INT8": "trt_int8_enable"}


def choose_providers(config: Mapping[str, Any], kind: str, device: int, available: Collection[str]) -> list[Provider]:
    """Return the providers of one instance, the preferred first.

    ``kind`` is ``CPU``, ``GPU`` or ``MODEL``; ``available`` are those of the installed ONNX Runtime. An accelerator
    that is not installed is refused whatever the kind, because the numbers would not be those the configuration asks
    for. One that is installed counts only for instances of its own kind, as in the official backend.
    """
    model = config["name"]
    requested = _list_accelerators(config, available)
    providers: list[Provider] = []
    if kind == "GPU":
        if CUDA not in available:
            raise RefusalError(
                f"unable to load model '{model}', an instance of KIND_GPU needs the CUDA execution provider, which the"
                " installed onnxruntime does not have: install onnxruntime-gpu, use a server with the official"
                " onnxruntime backend, or write instance_group { kind: KIND_CPU }"
            )
        cuda = _read_cuda_parameters(config)
        for name, parameters in requested["gpu"]:
            if name == "tensorrt":
                providers.append((TENSORRT, {**_translate_tensorrt(parameters), "device_id": str(device)}))
            else:
                cuda.update(parameters)
        providers.append((CUDA, {**cuda, "device_id": str(device)}))
    providers += [(OPENVINO, {"device_type": "CPU"}) for _ in requested["cpu"]]
    return [*providers, (CPU, {})]


def _list_accelerators(
    config: Mapping[str, Any], available: Collection[str]
) -> dict[str, list[tuple[str, dict[str, str]]]]:
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    requested: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for kind, known in ACCELERATORS.items():
        requested[kind] = []
        for entry in accelerators.get(f"{kind}_execution_accelerator", ()):
            name = entry["name"]
            if name not in known:
                raise RefusalError(
                    f"unable to load model '{config['name']}', unknown Execution Accelerator '{name}' is requested; the"
                    f" onnxruntime backend knows {', '.join(known)} as {kind}_execution_accelerator"
                )
            if known[name] not in available:
                raise RefusalError(
                    f"unable to load model '{config['name']}', Execution Accelerator '{name}' needs {known[name]},"
                    f" which the installed onnxruntime does not have ({', '.join(available)}); a server from the"
                    " official container image may have it"
                )
            requested[kind].append((name, dict(entry.get("parameters", {}))))
    return requested


def _read_cuda_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Read the CUDA options among a model's own parameters: where they stood before accelerators had parameters."""
    options = {}
    for name in CUDA_PARAMETERS:
        if name not in config.get("parameters", {}):
            continue
        text = config["parameters"][name].get("string_value", "")
        names = ENUMERATED.get(name)
        if names is None:
            options[name] = text
        elif text in [str(position) for position in range(len(names))]:
            options[name] = names[int(text)]
        else:
            raise RefusalError(f"parameter {name}: '{text}' is not one of 0 to {len(names) - 1}")
    return options


def _translate_tensorrt(parameters: Mapping[str, str]) -> dict[str, str]:
    options = {}
    for name, value in parameters.items():
        if name == "precision_mode":
            if value not in PRECISIONS:
                raise RefusalError(f"unsupported precision mode '{value}' is requested; use {', '.join(PRECISIONS)}")
            flag = PRECISIONS[value]
            if flag:
                options[flag] = "1"
        elif name in TENSORRT_NAMES:
            options[TENSORRT_NAMES[name]] = value
        elif name.startswith("trt_"):
            options[name] = value
        else:
            raise RefusalError(f"unknown parameter '{name}' is provided for TensorRT Execution Accelerator")
    return options
