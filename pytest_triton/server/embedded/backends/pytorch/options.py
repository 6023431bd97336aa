"""``parameters`` of a model configuration -> what is switched in PyTorch, as the official backend reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..common.parameters import find_unknown, read_boolean, read_parameters, read_threads

SHARING = "ENABLE_WEIGHT_SHARING"
KNOWN_PARAMETERS = (
    "DISABLE_OPTIMIZED_EXECUTION",
    "ENABLE_CACHE_CLEANING",
    "INFERENCE_MODE",
    "DISABLE_CUDNN",
    "ENABLE_TENSOR_FUSER",
    "ENABLE_JIT_PROFILING",
    "ENABLE_JIT_EXECUTOR",
    "INTRA_OP_THREAD_COUNT",
    "INTER_OP_THREAD_COUNT",
    SHARING,
)


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is run. ``None`` and a thread count of 0 leave PyTorch's own default."""

    optimized_execution: bool = True
    inference_mode: bool = True
    cudnn: bool = True
    cache_cleaning: bool = False
    tensor_fuser: bool | None = None
    jit_profiling: bool | None = None
    jit_executor: bool | None = None
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    warnings: tuple[str, ...] = ()


def read_options(config: Mapping[str, Any]) -> Options:
    """Read the options of a model. Raises ``RefusalError`` with the parameter and its value."""
    parameters = read_parameters(config)
    warnings = []
    if read_boolean(parameters, SHARING):
        warnings.append(f"parameter {SHARING} has no effect: each instance is a process of its own here")
    unknown = find_unknown(parameters, KNOWN_PARAMETERS)
    if unknown:
        warnings.append(f"parameters that mean nothing to pytorch: {', '.join(unknown)}")
    return Options(
        optimized_execution=not read_boolean(parameters, "DISABLE_OPTIMIZED_EXECUTION"),
        inference_mode=read_boolean(parameters, "INFERENCE_MODE") is not False,
        cudnn=not read_boolean(parameters, "DISABLE_CUDNN"),
        cache_cleaning=bool(read_boolean(parameters, "ENABLE_CACHE_CLEANING")),
        tensor_fuser=read_boolean(parameters, "ENABLE_TENSOR_FUSER"),
        jit_profiling=read_boolean(parameters, "ENABLE_JIT_PROFILING"),
        jit_executor=read_boolean(parameters, "ENABLE_JIT_EXECUTOR"),
        intra_op_threads=read_threads(parameters, "INTRA_OP_THREAD_COUNT"),
        inter_op_threads=read_threads(parameters, "INTER_OP_THREAD_COUNT"),
        warnings=tuple(warnings),
    )


def apply_options(torch: Any, options: Options) -> None:
    """Switch PyTorch for this process, which serves one instance and nothing else."""
    if options.intra_op_threads:
        torch.set_num_threads(options.intra_op_threads)
    if options.inter_op_threads:
        torch.set_num_interop_threads(options.inter_op_threads)
    torch._C._set_graph_executor_optimize(options.optimized_execution)
    if options.jit_profiling is not None:
        torch._C._jit_set_profiling_mode(options.jit_profiling)
    if options.jit_executor is not None:
        torch._C._jit_set_profiling_executor(options.jit_executor)
    if options.tensor_fuser is not None:
        torch._C._jit_set_texpr_fuser_enabled(options.tensor_fuser)
    torch.backends.cudnn.enabled = options.cudnn
