"""``parameters`` and ``optimization`` of a model configuration -> options of ONNX Runtime.

Names, values and defaults are the official backend's. Where nothing is set, ONNX Runtime's own default stays, for
threads too: so many instances on a CPU oversubscribe it here exactly as they do there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..common.parameters import find_unknown, read_boolean, read_integer, read_parameters, read_threads
from ..common.refusal import RefusalError

ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
DEVICE_INITIALIZERS = "session.use_device_allocator_for_initializers"
CUDA_PARAMETERS = ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream")
KNOWN_PARAMETERS = {
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    ARENA_SHRINKAGE,
    DEVICE_INITIALIZERS,
    *CUDA_PARAMETERS,
}
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a session is made and run. ``None`` and a thread count of 0 leave ONNX Runtime's own default."""

    graph_level: str = "ORT_ENABLE_ALL"
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    parallel: bool = False
    memory_arena: bool | None = None
    memory_pattern: bool | None = None
    session_entries: Mapping[str, str] = field(default_factory=dict)
    run_entries: Mapping[str, str] = field(default_factory=dict)
    operator_libraries: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    """Parameters that mean nothing to this backend, as to the official one."""


def read_options(config: Mapping[str, Any], settings: Mapping[str, str]) -> RuntimeOptions:
    """Read the options of a model; ``settings`` are the backend's own, from the server's command line.

    With ``enable-global-threadpool`` the thread counts come from ``settings`` and not from the model, as in the
    official backend. There is then still one pool per instance here, since every instance is a process.

    Raises ``RefusalError`` with the parameter and its value.
    """
    parameters = read_parameters(config)
    threads: Mapping[str, str] = parameters
    if "enable-global-threadpool" in settings and read_boolean(settings, "enable-global-threadpool"):
        threads = settings
    mode = read_integer(parameters, "execution_mode")
    if mode not in (0, 1):
        raise RefusalError(f"parameter execution_mode: '{mode}' is neither 0 (sequential) nor 1 (parallel)")
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    return RuntimeOptions(
        graph_level=GRAPH_LEVELS.get(level, "ORT_ENABLE_ALL"),
        intra_op_threads=read_threads(threads, "intra_op_thread_count"),
        inter_op_threads=read_threads(threads, "inter_op_thread_count"),
        parallel=mode == 1,
        memory_arena=read_boolean(parameters, "enable_mem_arena"),
        memory_pattern=read_boolean(parameters, "enable_mem_pattern"),
        session_entries={key: parameters[key] for key in (DEVICE_INITIALIZERS,) if key in parameters},
        run_entries={key: parameters[key] for key in (ARENA_SHRINKAGE,) if key in parameters},
        operator_libraries=tuple(config.get("model_operations", {}).get("op_library_filename", ())),
        ignored=find_unknown(parameters, KNOWN_PARAMETERS),
    )


def build_session_options(ort: Any, options: RuntimeOptions) -> Any:
    """Make ``SessionOptions``; ``ort`` is the ``onnxruntime`` module."""
    built = ort.SessionOptions()
    built.graph_optimization_level = getattr(ort.GraphOptimizationLevel, options.graph_level)
    built.execution_mode = ort.ExecutionMode.ORT_PARALLEL if options.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    if options.intra_op_threads:
        built.intra_op_num_threads = options.intra_op_threads
    if options.inter_op_threads:
        built.inter_op_num_threads = options.inter_op_threads
    if options.memory_arena is not None:
        built.enable_cpu_mem_arena = options.memory_arena
    if options.memory_pattern is not None:
        built.enable_mem_pattern = options.memory_pattern
    for key, value in options.session_entries.items():
        built.add_session_config_entry(key, value)
    for library in options.operator_libraries:
        built.register_custom_ops_library(library)
    return built


def build_reading_options(ort: Any, options: RuntimeOptions) -> Any:
    """Make ``SessionOptions`` for a session that only has to know its inputs and outputs.

    Without optimisation, packed weights and a thread pool a 244 MB model is read in about half the time; shape
    inference runs all the same.
    """
    built = ort.SessionOptions()
    built.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    built.intra_op_num_threads = 1
    built.add_session_config_entry("session.disable_prepacking", "1")
    for library in options.operator_libraries:
        built.register_custom_ops_library(library)
    return built


def build_run_options(ort: Any, options: RuntimeOptions) -> Any | None:
    """Make ``RunOptions``, or None where nothing is set."""
    if not options.run_entries:
        return None
    built = ort.RunOptions()
    for key, value in options.run_entries.items():
        built.add_run_config_entry(key, value)
    return built
