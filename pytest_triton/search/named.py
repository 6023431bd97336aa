"""Candidates given whole, by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_triton.errors import AxisError, UsageError
from pytest_triton.search.axes import read_value
from pytest_triton.search.names import Reader, canonical_name
from pytest_triton.search.space import SpacePoint

RESERVED = ("best", "default")
"""What an id of a candidate would be mistaken for: the end of a search, and the default configuration."""
_NAME = re.compile(r"[A-Za-z0-9._+-]+")


def are_named(axes: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping names candidates, each a mapping itself, rather than axes with lists of values."""
    return bool(axes) and all(isinstance(value, Mapping) for value in axes.values())


def read_named(candidates: Mapping[Any, Mapping[Any, Any]], reader: Reader) -> tuple[SpacePoint, ...]:
    """Check candidates and return them in their order.

    Each maps names as axes have them to one value. Raises ``AxisError`` naming the candidate and what is wrong.
    """
    points: dict[str, SpacePoint] = {}
    seen: dict[str, str] = {}
    for name, fields in candidates.items():
        _check_name(name, reader)
        values: dict[str, Any] = {}
        for written, value in fields.items():
            try:
                path = canonical_name(written, reader)
                if path in values:
                    raise AxisError(f"{path} is set twice, the second time as {written!r}", hint="Name it once.")
                values[path] = read_value(path, value, reader)
            except AxisError as error:
                raise AxisError(f"candidate {name!r}: {error.problem}", hint=error.hint) from None
        for path in values:
            outer = next((other for other in values if path.startswith(f"{other}.") and values[other] is None), None)
            if outer is not None:
                raise AxisError(
                    f"candidate {name!r}: {path} is set inside {outer}, which it removes", hint="Drop one of them."
                )
        text = json.dumps(values, sort_keys=True, default=repr)
        if text in seen:
            raise AxisError(f"candidates {seen[text]!r} and {name!r} are the same", hint="Drop one of them.")
        seen[text] = name
        points[name] = SpacePoint.of(name, values)
    return tuple(points.values())


def _check_name(name: Any, reader: Reader) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AxisError(
            f"{name!r} is no name of a candidate",
            hint="Write letters, digits and ._+- alone, as in 'small' or 'i2-t1'.",
        )
    if name in RESERVED:
        raise AxisError(f"no candidate can be named {name!r}", hint=f"{name!r} has a meaning of its own in ids.")
    try:
        canonical_name(name, reader)
    except UsageError:
        return
    # {"dynamic_batching": {}}: an axis whose value stands there without its list.
    raise AxisError(
        f"{name}: an axis needs a list of values, and a candidate cannot have a field's name",
        hint=f"Write {name!r}: [{{...}}] for an axis of one value.",
    )
