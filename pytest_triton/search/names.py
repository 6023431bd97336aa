"""The names of axes.

An axis is named by

- a path or alias of ``ModelConfig``: ``instance_group.count``, ``max_queue_delay``,
- a field of the load: ``concurrency``, ``rate``,
- ``server.`` and an option of Triton's command line: ``server.cache_config``, for which the server starts anew,
- another model and a path: ``detector:instance_group.count``, as for those that an ensemble is made of.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_triton.case import Load, Value
from pytest_triton.errors import AxisError, UsageError

LOAD_AXES = tuple(field.name for field in dataclasses.fields(Load))
SERVER = "server."
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
_KEYED = ("parameters.", "metric_tags.")
"""Maps with keys of the user's own, in which a colon may stand."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How names and values are checked: a path and a value of ``ModelConfig``, a value of a field of the load, and the
    name of an option of the server.
    """

    path: Callable[[str], str]
    value: Callable[[str, object], Value]
    load: Callable[[str, Any], Any]
    option: Callable[[str], str] = str


def canonical_name(name: object, reader: Reader) -> str:
    """Return an axis's name with paths as the proto spells them. Raises ``AxisError`` with the nearest valid name."""
    if not isinstance(name, str):
        raise AxisError(f"{name!r} is no axis", hint="Name a field of ModelConfig, such as 'instance_group.count'.")
    if name in LOAD_AXES:
        return name
    if name.startswith(SERVER):
        option = name.removeprefix(SERVER).replace("-", "_")
        if not _OPTION.fullmatch(option):
            raise AxisError(f"{name!r} names no option of Triton's", hint="Write it as in 'server.cache_config'.")
        return SERVER + reader.option(option)
    try:
        return reader.path(name)
    except UsageError as error:
        model, path = other_model(name), name.partition(":")[2]
        if model:
            return f"{model}:{reader.path(path)}"
        close = difflib.get_close_matches(name, LOAD_AXES, n=1, cutoff=0.75)
        if close:
            raise AxisError(f"there is no axis {name!r}", hint=f"did you mean {close[0]!r}?") from None
        raise error from None


def other_model(path: str) -> str:
    """Return the other model that an axis is about, or an empty text."""
    model, colon, _ = path.partition(":")
    return model if colon and not model.startswith(_KEYED) else ""
