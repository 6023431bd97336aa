"""The arguments of ``triton_search``: how a search goes about it, checked one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_triton.correctness import NUMBERS
from pytest_triton.errors import UsageError, nearest
from pytest_triton.plugin.loads import is_count
from pytest_triton.search.objective import objectives
from pytest_triton.search.settings import SAMPLERS, STRATEGIES, Settings

RESTARTS = ("needed", "candidate")
_TOLERANCE = "write a number, or one for each data type as in {'FP16': 0.02, 'FP32': (1e-3, 1e-5)}: relative, absolute"


@dataclass(frozen=True, slots=True)
class SearchWish:
    """A ``triton_search`` marker. ``axes`` is None where it names none, so that the default space is meant."""

    axes: Mapping[Any, Any] | None
    settings: Settings
    exclude: Callable[[Mapping[str, Any]], Any] | None = None

    def place(self, folder: Path) -> SearchWish:
        """Let a relative path of the reference begin in ``folder``. Raises ``UsageError`` where there is no file."""
        reference = self.settings.reference
        if not isinstance(reference, str | os.PathLike):
            return self
        path = folder / reference
        if not path.is_file():
            raise UsageError(
                f"reference={os.fspath(reference)!r}: there is no file {path}",
                hint="write the path, from the test file, of an ONNX file, or a callable from inputs to outputs",
            )
        return replace(self, settings=replace(self.settings, reference=path))


def triton_search(
    axes: Any = None,
    objective: Any = "throughput",
    *,
    strategy: Any = "race",
    exclude: Any = None,
    trials: Any = None,
    sampler: Any = "tpe",
    storage: Any = None,
    seed: Any = 0,
    reference: Any = None,
    tolerance: Any = None,
    unload_first: Any = False,
    restart: Any = "needed",
) -> SearchWish:
    """Check the arguments of the marker. Raises ``UsageError`` naming the one that cannot be meant."""
    if axes is not None and not (isinstance(axes, Mapping) and axes):
        raise UsageError(
            f"the axes are {axes!r}: no mapping, or empty",
            hint="write {'instance_group.count': [1, 2]}, or leave them out for what the model and the machine allow",
        )
    if exclude is not None and not callable(exclude):
        raise UsageError(
            f"exclude={exclude!r} is no callable", hint="write lambda values: values['instance_group.count'] > 2"
        )
    _check_choice("strategy", strategy, STRATEGIES)
    _check_choice("sampler", sampler, SAMPLERS)
    _check_choice("restart", restart, RESTARTS)
    if trials is not None and not is_count(trials, 1):
        raise UsageError(f"trials={trials!r}", hint="write how many candidates to propose, at least 1")
    if not is_count(seed, 0):
        raise UsageError(f"seed={seed!r} is no whole number, at least 0")
    if storage is not None and not (isinstance(storage, str | os.PathLike) and os.fspath(storage)):
        raise UsageError(f"storage={storage!r}", hint="write a URL as in 'sqlite:///study.db', or a journal's path")
    if strategy != "optuna":
        for name, value, default in (("trials", trials, None), ("storage", storage, None), ("sampler", sampler, "tpe")):
            if value != default:
                raise UsageError(
                    f"{name}={value!r} means nothing to strategy={strategy!r}", hint="write strategy='optuna' beside it"
                )
    if not (reference is None or callable(reference) or isinstance(reference, str | os.PathLike)):
        raise UsageError(
            f"reference={reference!r}", hint="write the path of an ONNX file, or a callable from inputs to outputs"
        )
    if not isinstance(unload_first, bool):
        raise UsageError(f"unload_first={unload_first!r}", hint="write True or False")
    settings = Settings(
        objectives(objective),
        strategy=strategy,
        trials=trials,
        sampler=sampler,
        storage=None if storage is None else str(os.fspath(storage)),
        seed=seed,
        reference=reference,
        tolerance=_tolerance(tolerance),
        unload_first=unload_first,
        restart=restart,
    )
    return SearchWish(axes, settings, exclude)


def _check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{name}={value!r} is no text", hint=f"write one of {', '.join(map(repr, known))}")
    if value not in known:
        raise UsageError(f"unknown {name} {value!r}", hint=nearest(value, known))


def _tolerance(wish: Any) -> dict[str, tuple[float, float]]:
    """Read differences by data type. A number alone is the relative one of every floating type, and the absolute."""
    if wish is None:
        return {}
    if not isinstance(wish, Mapping):
        pair = _pair("tolerance", wish)
        return {name: pair for name in NUMBERS if "FP" in name or name == "BF16"}
    found: dict[str, tuple[float, float]] = {}
    for name, value in wish.items():
        plain = name.removeprefix("TYPE_") if isinstance(name, str) else name
        if plain not in NUMBERS:
            raise UsageError(f"tolerance: there is no data type {name!r}", hint=nearest(str(plain), NUMBERS))
        if plain in found:
            raise UsageError(f"tolerance: {plain} stands there twice", hint="name each data type once")
        found[plain] = _pair(f"tolerance of {plain}", value, integer="INT" in plain)
    return found


def _pair(what: str, value: Any, *, integer: bool = False) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, tuple | list) else ((0.0, value) if integer else (value, value))
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in pair)
    if len(pair) != 2 or not numbers or not all(0 <= end < float("inf") for end in pair):
        raise UsageError(f"{what} is {value!r}", hint=_TOLERANCE)
    return float(pair[0]), float(pair[1])
