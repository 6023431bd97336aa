"""What to do about a model that needs what the embedded server or its interpreter does not have."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_triton.server.embedded.backend_directory import python_backends

# What one or the other official container brings and the embedded server does not.
_OFFICIAL = frozenset(
    {
        "dali",
        "fil",
        "identity",
        "repeat",
        "square",
        "tensorflow",
        "tensorrt",
        "tensorrtllm",
        "vllm",
    }
)
_NO_MODULE = re.compile(r"No module named '([^']+)'")
_NOT_FOUND = (
    re.compile(r"unable to find backend library for backend '([^']+)'"),
    re.compile(r"unable to find '?lib(?:triton_)?([a-z0-9_]+)\.so'?"),
    re.compile(r"unable to find backend '([^']+)'"),
)


def embedded_backends() -> tuple[str, ...]:
    """Name the backends that the embedded server has."""
    return tuple(sorted({"python", *python_backends()}))


def advise_missing_backend(reason: str) -> str:
    """Say what to do when ``reason``, Triton's for refusing a model, is that it has no such backend; else ""."""
    for pattern in _NOT_FOUND:
        found = pattern.search(reason)
        if found is not None and found[1] not in embedded_backends():
            return _way_out(found[1])
    return ""


def advise_missing_package(reason: str, python: Path) -> str:
    """Say what to do when ``reason`` is that a model could not import a package from ``python``'s; else ""."""
    found = _NO_MODULE.search(reason)
    if found is None:
        return ""
    return (
        f"Models run in {python}: install the package of the module {found[1]!r} there ({python} -m pip install ...)."
    )


def _way_out(backend: str) -> str:
    there = f"The embedded server has the backends {', '.join(embedded_backends())}. "
    if backend in _OFFICIAL:
        return there + (
            f"An official container has {backend!r}: use --triton-server=local inside it, or the address of a server "
            "that has it, --triton-server=http://host:port."
        )
    return there + f"{backend!r} is no official one either: use a server that has it, or correct the configuration."
