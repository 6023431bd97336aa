"""``parameters`` of a model configuration: text -> numbers and truth, and what is nobody's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .refusal import RefusalError

PYTHON_BACKEND_PARAMETERS = ("EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS")
TRUE, FALSE = ("true", "on", "1"), ("false", "off", "0")


def read_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters as they are written, by name."""
    return {name: value.get("string_value", "") for name, value in config.get("parameters", {}).items()}


def find_unknown(parameters: Mapping[str, str], known: Collection[str]) -> tuple[str, ...]:
    """Name the parameters that are neither ``known`` nor those of Triton's Python backend, which runs ours."""
    return tuple(sorted(parameters.keys() - {*known, *PYTHON_BACKEND_PARAMETERS}))


def read_integer(parameters: Mapping[str, str], name: str) -> int:
    """Return a whole number, 0 where it is not set. Raises ``RefusalError``."""
    text = parameters.get(name, "0")
    try:
        return int(text)
    except ValueError:
        raise RefusalError(f"parameter {name}: '{text}' is not an integer") from None


def read_threads(parameters: Mapping[str, str], name: str) -> int:
    """Return a number of threads, 0 where it is not set. Raises ``RefusalError``."""
    count = read_integer(parameters, name)
    if count < 0:
        raise RefusalError(f"parameter {name}: '{count}' is no number of threads; 0 means as many as there are cores")
    return count


def read_boolean(parameters: Mapping[str, str], name: str) -> bool | None:
    """Return whether something is on, as Triton's backends read it; None where it is not set. Raises ``RefusalError``.

    Triton's ``ParseBoolValue`` has the same words.
    """
    if name not in parameters:
        return None
    text = parameters[name].lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise RefusalError(f"parameter {name}: '{parameters[name]}' is not a boolean; use 1 or 0")
