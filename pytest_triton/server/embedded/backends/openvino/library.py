"""Import OpenVINO, and put its errors shortly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..common.library import import_library
from ..common.refusal import RefusalError


def import_openvino() -> Any:
    """Import OpenVINO. Raises ``RefusalError``."""
    # Each import would be reported over the network. Without this package it is not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_library("openvino", "Core", 'pip install "pytest-triton[openvino]"')


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn an error of OpenVINO into a ``RefusalError`` that says ``what`` failed."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        raise RefusalError(f"{what}: {shorten(error)}") from error


def shorten(error: Exception) -> str:
    """Leave out which of OpenVINO's source files an error passed through."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Exception from src/")) or str(error)
