"""The arguments of ``triton_load``: which values each takes, and which do not go together."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pytest_triton.case import Load, Phases
from pytest_triton.errors import MarkerError, PytestTritonError, UsageError, nearest
from pytest_triton.quantities import Unit, parse
from pytest_triton.search.values import Powers, Range

_CHECKED_BYTES = 2**20
"""A file of intervals that is larger is read only when it is used."""


def triton_load(
    concurrency: Any = None,
    batch_size: Any = 1,
    protocol: Any = "http",
    rate: Any = None,
    arrivals: Any = "poisson",
    sequence_length: Any = None,
    streaming: Any = False,
    shared_memory: Any = "none",
) -> dict[str, Any]:
    """Return the arguments of the marker by name, as they stand there."""
    return dict(locals())


def is_list(name: str, value: Any) -> bool:
    """Tell whether ``value`` means one case each: a pair of lengths is one value."""
    return isinstance(value, list | Range | Powers) or (isinstance(value, tuple) and name != "sequence_length")


def read_value(name: str, value: Any, folder: Path) -> Any:
    """Return what ``value`` means for a field of the load; paths begin in ``folder``.

    Raises ``UsageError`` when the field cannot have it.
    """
    if name == "concurrency" and not (value in (None, "auto") or is_count(value)):
        raise UsageError(f"concurrency={value!r}", hint="write a number of requests in flight, at least 1, or 'auto'")
    if name == "batch_size" and not is_count(value):
        raise UsageError(f"batch_size={value!r}", hint="write a number, at least 1")
    if name == "streaming" and not isinstance(value, bool):
        raise UsageError(f"streaming={value!r}", hint="write True or False")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UsageError(f"{name}={value!r}", hint=f"write one of {', '.join(map(repr, _CHOICES[name]))}")
    if name == "rate":
        return _rate(value)
    if name == "arrivals":
        return _arrivals(value, folder)
    if name == "sequence_length":
        return _sequence_length(value)
    return value


_CHOICES = {"protocol": ("http", "grpc"), "shared_memory": ("none", "system", "cuda")}


def is_count(value: Any, least: int = 1) -> bool:
    """Tell whether ``value`` is a whole number, at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _rate(value: Any) -> float | Phases | Literal["auto"] | None:
    if value in (None, "auto") or isinstance(value, Phases):
        return value  # type: ignore[no-any-return]
    try:
        rate = parse(value, Unit.PER_SECOND)
    except UsageError as error:
        raise UsageError(f"rate={value!r}: {error.problem}", hint=error.hint) from None
    if not 0 < rate < math.inf:
        raise UsageError(f"rate={value!r}", hint="write a rate above 0, as in '400/s', or 'auto'")
    return rate


def _arrivals(value: Any, folder: Path) -> str:
    if value in ("poisson", "constant"):
        return str(value)
    hint = "write 'poisson', 'constant', or the path, from the test file, of a file of intervals, one a line, in us"
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"arrivals={value!r}", hint=hint)
    path = folder / value
    if not path.is_file():
        raise UsageError(f"arrivals={os.fspath(value)!r}: there is no file {path}", hint=hint)
    if path.stat().st_size <= _CHECKED_BYTES:
        from pytest_triton.load.description import read_intervals

        try:
            read_intervals(path)
        except PytestTritonError as error:
            raise UsageError(f"arrivals={os.fspath(value)!r}: {error.problem}", hint=error.hint) from None
    return str(path)


def _sequence_length(value: Any) -> int | tuple[int, int] | None:
    if value is None or is_count(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, tuple) and len(value) == 2 and all(map(is_count, value)) and value[0] <= value[1]:
        return value
    raise UsageError(
        f"sequence_length={value!r}", hint="write a number of requests, at least 1, or a pair (low, high) to draw from"
    )


def make_load(values: Mapping[str, Any], *, search: bool = False) -> Load:
    """Make the load of one case from single values that ``read_value`` returned.

    A concurrency of None was not given: it is 1, and ``auto`` in a search. Raises ``UsageError`` when values
    contradict each other.
    """
    load = Load(**{**values, "concurrency": 1})
    _check_arrivals(load)
    if load.streaming and load.protocol != "grpc":
        raise UsageError("streaming=True over HTTP: there is no such thing", hint="write protocol='grpc' beside it")
    concurrency = values["concurrency"]
    if concurrency is None:
        concurrency = "auto" if search and not load.open_loop else 1
    elif load.open_loop and concurrency == "auto":
        raise UsageError(
            "concurrency='auto' beside scheduled arrivals", hint="a rate says how much is sent; leave concurrency out"
        )
    elif load.open_loop and load.sequence_length is None:
        raise UsageError(
            f"concurrency={concurrency} beside scheduled arrivals means nothing: in open loop requests are sent when "
            "they are due, whatever is in flight",
            hint="leave concurrency out, or rate and arrivals",
        )
    return Load(**{**values, "concurrency": concurrency})


def _check_arrivals(load: Load) -> None:
    if load.rate is None and load.arrivals == "constant":
        raise UsageError("arrivals='constant' without a rate", hint="write rate='400/s' beside it")
    if load.rate is not None and load.arrivals not in ("poisson", "constant"):
        raise UsageError(
            "rate beside a file of arrivals: the file says already when requests are due", hint="leave one of them out"
        )


@dataclass(frozen=True, slots=True)
class Overrides:
    """Arguments of one ``triton_perf(...)`` call, which go before the markers."""

    load: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, arguments: Mapping[str, Any], folder: Path) -> Overrides:
        """Check the arguments of the call; paths begin in ``folder``. Raises ``MarkerError`` with the nearest name."""
        known = inspect.signature(triton_load).parameters
        for name in arguments:
            if name not in known:
                raise MarkerError(f"triton_perf() has no argument {name!r}", hint=nearest(name, known))
        try:
            return cls({name: read_value(name, value, folder) for name, value in arguments.items()})
        except UsageError as error:
            raise MarkerError(f"triton_perf(): {error.problem}", hint=error.hint) from None

    def apply(self, load: Load) -> Load:
        """Return ``load`` with these arguments. Raises ``MarkerError`` when they contradict it."""
        values = {each.name: getattr(load, each.name) for each in fields(load)} | dict(self.load)
        opens = values["rate"] is not None or values["arrivals"] not in ("poisson", "constant")
        if "concurrency" not in self.load and opens and values["sequence_length"] is None:
            # The markers' own concurrency, which means nothing beside the rate.
            values["concurrency"] = None
        try:
            return make_load(values)
        except UsageError as error:
            raise MarkerError(f"triton_perf(): {error.problem}", hint=error.hint) from None
