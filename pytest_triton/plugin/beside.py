"""The arguments of ``triton_beside``: another model of the server, and the load that it is under meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_triton.case import Beside, Inputs
from pytest_triton.errors import UsageError
from pytest_triton.plugin.loads import is_list, make_load, read_value, triton_load
from pytest_triton.plugin.models import model_name


def triton_beside(
    model: str,
    concurrency: Any = None,
    batch_size: Any = 1,
    protocol: Any = "http",
    rate: Any = None,
    arrivals: Any = "poisson",
    shape: Any = None,
    data: Any = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the arguments of the marker by name, as they stand there."""
    return dict(locals())


def read_beside(said: Mapping[str, Any], inputs: Inputs, folder: Path) -> tuple[str, Beside]:
    """Return the model and what it is asked; paths begin in ``folder``, ``inputs`` are what the requests carry.

    Raises ``UsageError`` for what is no load, or one that is only to be looked for.
    """
    model = model_name(said["model"])
    values = triton_load()
    for name in values:
        value = said.get(name, values[name])
        if value == "auto":
            raise UsageError(f"{name}='auto' beside a measurement", hint="write how much it is: it stays the same")
        if is_list(name, value):
            raise UsageError(f"{name}={value!r} beside a measurement", hint="write one value: it stays the same")
        values[name] = read_value(name, value, folder)
    if values["rate"] is None and values["arrivals"] == "poisson" and values["concurrency"] is None:
        raise UsageError(f"{model} is under no load", hint="write concurrency=1 or rate='20/s'")
    return model, Beside(make_load(values), inputs)
