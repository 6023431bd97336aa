"""The markers: what they may say, and what they mean."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pytest

from pytest_triton.case import Beside, Inputs, Load, Value
from pytest_triton.errors import MarkerError, PytestTritonError, UsageError, nearest
from pytest_triton.plugin.beside import read_beside, triton_beside
from pytest_triton.plugin.keys import MARKERS
from pytest_triton.plugin.loads import is_count, is_list, make_load, read_value, triton_load
from pytest_triton.plugin.models import model_name
from pytest_triton.plugin.search_marker import SearchWish, triton_search
from pytest_triton.slo import SLO
from pytest_triton.slo_rules import LOAD_FIELDS, Reading, Rule


@dataclass(frozen=True, slots=True)
class Wish:
    """What the markers of one test ask for. ``loads`` maps a load field to the values to take in turn.

    A concurrency of None was not given. ``rules`` say which bounds hold for which case, the nearest first. ``beside``
    says what other models are asked meanwhile, by their names.
    """

    model: str | None
    loads: Mapping[str, list[Any]]
    inputs: Inputs
    rules: tuple[Rule, ...]
    search: SearchWish | None
    expanded: frozenset[str] = frozenset()
    beside: Mapping[str, Beside] = field(default_factory=dict)

    @property
    def others(self) -> dict[str, dict[str, Value]]:
        """The models that are served beside the one that is measured, as a candidate's ``composing`` has them."""
        return {model: {} for model in self.beside}

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the values of every case, without those of a search's axes."""
        for values in itertools.product(*self.loads.values()):
            yield dict(zip(self.loads, values, strict=True))

    def load(self, values: Mapping[str, Any]) -> Load:
        """Make the load of one case. Raises ``MarkerError`` when values contradict each other."""
        load: Load = _named("triton_load", lambda: make_load(values))
        return load


def _input(
    shape: Mapping[str, Any] | None = None, data: Any = None, seed: int = 0, count: int = 1, validate: str = "none"
) -> Inputs:
    shapes = {} if shape is None else shape
    if not isinstance(shapes, Mapping):
        raise UsageError(f"shape={shapes!r} is no mapping", hint="write shape={'INPUT': [3, 224, 224]}")
    if not is_count(seed, 0):
        raise UsageError(f"seed={seed!r} is no integer, at least 0")
    if not is_count(count, 1):
        raise UsageError(f"count={count!r}", hint="write a number of different requests, at least 1")
    if validate not in ("none", "sample", "all"):
        raise UsageError(f"validate={validate!r}", hint="write 'none', 'sample' or 'all'")
    if not (data is None or callable(data) or isinstance(data, str | Path | Mapping)):
        raise UsageError(f"data={data!r} is no path, callable or mapping, and not 'zero'")
    return Inputs({name: _shape(name, dims) for name, dims in shapes.items()}, data, seed, count, validate)  # type: ignore[arg-type]


def _place(inputs: Inputs, folder: Path) -> Inputs:
    """Let a relative path of the data begin in ``folder``."""
    data = inputs.data
    if isinstance(data, Path) or (isinstance(data, str) and data != "zero"):
        return replace(inputs, data=folder / data)
    return inputs


def _shape(name: str, dims: Any) -> tuple[int | tuple[int, int], ...]:
    if not isinstance(dims, list | tuple) or not all(_is_size(size) for size in dims):
        raise UsageError(
            f"shape of {name!r} is {dims!r}",
            hint="write a list of sizes, as in [3, 224, 224]; a pair (low, high) for one that each request draws",
        )
    return tuple(dims)


def _is_size(size: Any) -> bool:
    if isinstance(size, tuple):
        return len(size) == 2 and all(is_count(end, 0) for end in size) and size[0] <= size[1]
    return is_count(size, 0)


@dataclass(frozen=True, slots=True)
class _Slo:
    """A ``triton_slo`` marker, its bounds read, but not yet whom they are for."""

    slo: SLO
    candidate: Any
    source: str


def _slo(*, candidate: Any = None, model: Any = None, **bounds: Any) -> _Slo:
    whom = {name: value for name, value in (("candidate", candidate), ("model", model)) if value is not None}
    told = ", ".join(f"{name}={value!r}" for name, value in whom.items())
    if whom and not bounds:
        raise UsageError(f"{told} without a bound", hint="write p95='25ms' beside it")
    if model is not None:
        bounds = {f"{model_name(model)}:{name}": limit for name, limit in bounds.items()}
    source = f"triton_slo({told})" if whom else "triton_slo"
    return _Slo(SLO.parse(bounds, source), candidate, source)


_READERS: dict[str, Callable[..., Any]] = {
    "triton_model": model_name,
    "triton_load": triton_load,
    "triton_slo": _slo,
    "triton_input": _input,
    "triton_search": triton_search,
    "triton_beside": triton_beside,
}


def read(marks: Iterable[pytest.Mark], folder: Path, own: Sequence[pytest.Mark] = ()) -> Wish:
    """Read the markers of one test, nearest first; paths begin in ``folder``. ``own`` are those on the test itself.

    Raises ``MarkerError`` naming marker and argument.
    """
    found: dict[str, Any] = {}
    rules: list[Rule] = []
    beside: dict[str, Beside] = {}
    for mark in marks:
        if mark.name == "triton_slo":
            rules.append(_rule(_read(mark), folder, own=any(mark is each for each in own)))
        elif mark.name == "triton_beside":
            model, load = _beside(_read(mark), folder)
            beside.setdefault(model, load)
        elif mark.name in _READERS:
            found.setdefault(mark.name, _read(mark))
        elif mark.name.startswith("triton_"):
            raise MarkerError(f"unknown marker {mark.name!r}", hint=nearest(mark.name, MARKERS))
    search: SearchWish | None = found.get("triton_search")
    if search is not None:
        search = _named("triton_search", lambda: found["triton_search"].place(folder))
    loads = found.get("triton_load", triton_load())
    expanded = frozenset(name for name, value in loads.items() if is_list(name, value))
    said = {name: list(value) if name in expanded else [value] for name, value in loads.items()}
    values: dict[str, list[Any]] = _named(
        "triton_load",
        lambda: {name: [read_value(name, value, folder) for value in taken] for name, taken in said.items()},
    )
    for name in expanded:
        if not values[name]:
            raise MarkerError(f"triton_load: {name}=[] leaves nothing to measure", hint="name at least one value")
        for number, value in enumerate(values[name]):
            if value in values[name][:number]:
                raise MarkerError(f"triton_load: {name}={value!r} stands there twice", hint="name each value once")
    wish = Wish(
        found.get("triton_model"),
        values,
        _place(found.get("triton_input", Inputs()), folder),
        tuple(rules),
        search,
        expanded,
        beside,
    )
    if search is None:
        for combination in wish.combinations():
            wish.load(combination)
    return wish


def _beside(said: Mapping[str, Any], folder: Path) -> tuple[str, Beside]:
    def make() -> tuple[str, Beside]:
        inputs = _input(said["shape"], said["data"], said["seed"])
        return read_beside(said, _place(inputs, folder), folder)

    read: tuple[str, Beside] = _named("triton_beside", make)
    return read


def _rule(read: _Slo, folder: Path, *, own: bool) -> Rule:
    choices = ()
    if read.candidate is not None:
        choices = _named("triton_slo", lambda: reading_in(folder).choices(read.candidate))
    return Rule(read.slo.bounds, read.source, choices, own=own)


def reading_in(folder: Path) -> Reading:
    """Say how conditions on cases are read; paths begin in ``folder``."""
    from pytest_triton.repository.fields import canonical_path, canonical_value

    def path(name: str) -> str:
        try:
            return canonical_path(name)
        except PytestTritonError as error:
            close = get_close_matches(name, LOAD_FIELDS, n=1, cutoff=0.75)
            raise UsageError(error.problem, hint=f"did you mean {close[0]!r}?" if close else error.hint) from None

    return Reading(lambda name, value: read_value(name, value, folder), path, canonical_value)


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
