"""Options of ``tritonserver`` as a candidate names them: ``cache_config`` is ``--cache-config``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_triton.errors import AxisError
from pytest_triton.server.arguments import split_arguments

Options = Mapping[str, Any]
"""Names with ``_`` -> values. None leaves an option out, a list gives it several times."""

SWITCH = "disable_auto_complete_config"
"""The one option that takes no value: True sets it."""

# From `tritonserver --help`, 2.51 and 2.73. Others are passed on: it is Triton that knows its own.
_KNOWN = frozenset(
    (
        "allow_cpu_metrics",
        "allow_gpu_metrics",
        "backend_config",
        "buffer_manager_thread_count",
        "cache_config",
        "cache_directory",
        "cuda_memory_pool_byte_size",
        "cuda_virtual_address_size",
        "disable_auto_complete_config",
        "enable_peer_access",
        "grpc_http2_max_ping_strikes",
        "grpc_http2_max_pings_without_data",
        "grpc_http2_min_recv_ping_interval_without_data",
        "grpc_infer_allocation_pool_size",
        "grpc_infer_response_compression_level",
        "grpc_infer_thread_count",
        "grpc_keepalive_time",
        "grpc_keepalive_timeout",
        "grpc_max_response_pool_size",
        "host_policy",
        "http_thread_count",
        "log_verbose",
        "metrics_config",
        "metrics_interval_ms",
        "min_supported_compute_capability",
        "model_config_name",
        "model_load_gpu_limit",
        "model_load_retry_count",
        "model_load_thread_count",
        "pinned_memory_pool_byte_size",
        "rate_limit",
        "rate_limit_resource",
        "response_cache_byte_size",
        "trace_config",
    )
)
_REPEATED = frozenset(
    (
        "backend-config",
        "cache-config",
        "cuda-memory-pool-byte-size",
        "cuda-virtual-address-size",
        "host-policy",
        "http-header-forward-pattern",
        "http-restricted-api",
        "load-model",
        "metrics-config",
        "model-load-gpu-limit",
        "model-repository",
        "rate-limit-resource",
        "trace-config",
    )
)
_NOT_A_CHOICE = frozenset(
    (
        "allow_grpc",
        "allow_http",
        "allow_metrics",
        "backend_directory",
        "exit_on_error",
        "exit_timeout_secs",
        "grpc_address",
        "grpc_port",
        "help",
        "http_address",
        "http_port",
        "id",
        "load_model",
        "log_file",
        "metrics_address",
        "metrics_port",
        "model_control_mode",
        "model_repository",
        "model_store",
        "repository_poll_secs",
    )
)


def check_option(name: str) -> str:
    """Return an option's name with ``_``, however it was written. Raises ``AxisError`` for one that cannot be an axis.

    A name that is unknown and near to no known one is left to Triton, which may be newer than this list.
    """
    plain = name.strip().removeprefix("--").replace("-", "_")
    if plain in _NOT_A_CHOICE:
        raise AxisError(
            f"server option {plain!r} is no axis: the server could not be used with another value",
            hint="The fixture triton_server_args gives arguments to all servers of a module.",
        )
    if plain in _KNOWN:
        return plain
    close = difflib.get_close_matches(plain, _KNOWN, n=1, cutoff=0.8)
    if close or not plain.isidentifier():
        hint = f"did you mean {close[0]!r}?" if close else "Write it as tritonserver --help does, with '_' for '-'."
        raise AxisError(f"tritonserver has no option {name!r}", hint=hint)
    return plain


def as_words(options: Options) -> list[str]:
    """Return ``options`` as words of a command line.

    >>> as_words({"cache_config": "local,size=1048576", "rate_limit": None})
    ['--cache-config=local,size=1048576']
    """
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == SWITCH:
            words += [flag] if value else []
            continue
        values: Iterable[Any] = value if isinstance(value, list | tuple) else () if value is None else (value,)
        words += [f"{flag}={str(each).lower() if isinstance(each, bool) else each}" for each in values]
    return words


def join_words(user: Sequence[str], options: Options) -> list[str]:
    """Return the user's arguments with ``options`` after them, in place of those that they set otherwise.

    Raises ``OptionError`` for a word of the user's that belongs to no argument.
    """
    ours = as_words(options)
    replaced = {_subject(name, value) for name, value in split_arguments(ours)}
    replaced |= {_subject(name.replace("_", "-"), None) for name in options}
    kept = [(name, value) for name, value in split_arguments(user) if _subject(name, value) not in replaced]
    return [*(f"--{name}" if value is None else f"--{name}={value}" for name, value in kept), *ours]


def _subject(name: str, value: str | None) -> tuple[str, str]:
    """Say what an argument sets: of one that may be given several times, the key in its value, too."""
    return name, (value or "").partition("=")[0] if name in _REPEATED else ""
