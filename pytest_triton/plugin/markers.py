"""The markers: what they may say, and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.case import Inputs, Load
from pytest_triton.errors import MarkerError, PytestTritonError, UsageError, nearest
from pytest_triton.plugin.keys import MARKERS
from pytest_triton.slo import SLO


@dataclass(frozen=True, slots=True)
class Wish:
    """What the markers of one test ask for. ``loads`` maps a load field to the values to take in turn."""

    model: str | None
    loads: Mapping[str, list[Any]]
    inputs: Inputs
    slo: SLO
    search: SearchWish | None
    expanded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SearchWish:
    """A ``triton_search`` marker."""

    axes: Mapping[str, Any]
    objective: str = "throughput"


def _model(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise UsageError(f"a model is named by a string, not {name!r}")
    return name


def _load(concurrency: Any = None, batch_size: Any = 1, protocol: Any = "http") -> dict[str, Any]:
    return {"concurrency": concurrency, "batch_size": batch_size, "protocol": protocol}


def _input(shape: Mapping[str, Any] | None = None, data: Any = None, seed: int = 0) -> Inputs:
    shapes = {} if shape is None else shape
    if not isinstance(shapes, Mapping):
        raise UsageError(f"shape={shapes!r} is no mapping", hint="write shape={'INPUT': [3, 224, 224]}")
    if not isinstance(seed, int):
        raise UsageError(f"seed={seed!r} is no integer")
    if not (data is None or callable(data) or isinstance(data, str | Path | Mapping)):
        raise UsageError(f"data={data!r} is no path, callable or mapping")
    return Inputs({name: _shape(name, dims) for name, dims in shapes.items()}, data, seed)


def _shape(name: str, dims: Any) -> tuple[int, ...]:
    if not isinstance(dims, list | tuple) or not all(_is_count(d, 0) for d in dims):
        raise UsageError(f"shape of {name!r} is {dims!r}", hint="write a list of sizes, as in [3, 224, 224]")
    return tuple(dims)


def _search(axes: Any, objective: str = "throughput") -> SearchWish:
    if not isinstance(axes, Mapping) or not axes:
        raise UsageError("the axes are no mapping, or empty", hint="write {'instance_group.count': [1, 2]}")
    return SearchWish(axes, objective)


def _slo(**bounds: Any) -> dict[str, Any]:
    return bounds


_READERS: dict[str, Callable[..., Any]] = {
    "triton_model": _model,
    "triton_load": _load,
    "triton_slo": _slo,
    "triton_input": _input,
    "triton_search": _search,
}


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_load(name: str, value: Any) -> None:
    """Raise ``UsageError`` when ``value`` is impossible for a field of the load."""
    if name == "concurrency" and not (value == "auto" or _is_count(value, 1)):
        raise UsageError(f"concurrency={value!r}", hint="write a number of requests in flight, at least 1, or 'auto'")
    if name == "batch_size" and not _is_count(value, 1):
        raise UsageError(f"batch_size={value!r}", hint="write a number, at least 1")
    if name == "protocol" and value != "http":
        raise UsageError(f"protocol={value!r}", hint="this version sends over 'http'")


def read(marks: Iterable[pytest.Mark]) -> Wish:
    """Read the markers of one test, nearest first. Raises ``MarkerError`` naming marker and argument."""
    found: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for mark in marks:
        if mark.name == "triton_slo":
            # A bound nearer to the test overrides one declared further out; the others add up.
            bounds = {**_read(mark), **bounds}
        elif mark.name in _READERS:
            found.setdefault(mark.name, _read(mark))
        elif mark.name.startswith("triton_"):
            raise MarkerError(f"unknown marker {mark.name!r}", hint=nearest(mark.name, MARKERS))
    search = found.get("triton_search")
    loads = dict(found.get("triton_load", _load()))
    if loads["concurrency"] is None:
        loads["concurrency"] = 1 if search is None else "auto"
    expanded = frozenset(name for name, value in loads.items() if isinstance(value, list | tuple))
    values = {name: list(value) if name in expanded else [value] for name, value in loads.items()}
    _named("triton_load", lambda: check_loads(values))
    for name in expanded:
        if not values[name]:
            raise MarkerError(f"triton_load: {name}=[] leaves nothing to measure", hint="name at least one value")
    return Wish(
        found.get("triton_model"),
        values,
        found.get("triton_input", Inputs()),
        _named("triton_slo", lambda: SLO.parse(bounds)),
        search,
        expanded,
    )


def _read(mark: pytest.Mark) -> Any:
    reader = _READERS[mark.name]
    parameters = inspect.signature(reader).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in mark.kwargs:
        if name not in parameters and not open_ended:
            raise MarkerError(f"{mark.name} has no argument {name!r}", hint=nearest(name, parameters))
    try:
        inspect.signature(reader).bind(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise MarkerError(f"{mark.name}: {error}", hint=MARKERS[mark.name]) from None
    return _named(mark.name, lambda: reader(*mark.args, **mark.kwargs))


def _named(marker: str, reading: Callable[[], Any]) -> Any:
    try:
        return reading()
    except PytestTritonError as error:
        raise MarkerError(f"{marker}: {error.problem}", hint=error.hint, details=error.details) from None


def check_loads(values: Mapping[str, Iterable[Any]]) -> None:
    """Raise ``UsageError`` for the first impossible value of any field of the load."""
    for name, taken in values.items():
        for value in taken:
            check_load(name, value)


def make_load(values: Mapping[str, Any]) -> Load:
    """Make the load of one case from single values."""
    return Load(**values)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Arguments of one ``triton_perf(...)`` call, which go before the markers."""

    load: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Overrides:
        """Check the arguments of the call. Raises ``MarkerError`` with the nearest valid name."""
        known = inspect.signature(_load).parameters
        for name, value in arguments.items():
            if name not in known:
                raise MarkerError(f"triton_perf() has no argument {name!r}", hint=nearest(name, known))
            _named("triton_perf()", lambda name=name, value=value: check_load(name, value))  # type: ignore[misc]
        return cls(dict(arguments))
