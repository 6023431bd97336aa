"""Short names for the values of axes, of which the ids of candidates are made: ``i2``, ``t1``, ``dyn``.

Only letters, digits, ``.``, ``_`` and ``+`` stand in a label, and ids join labels by ``-``: pytest's ``-k`` takes them
as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pytest_triton.case import Phases, Value
from pytest_triton.search.names import other_model

_PREFIXES = {
    "instance_group.count": "i",
    "instance_group.kind": "",
    "instance_group.gpus": "gpu",
    "parameters.intra_op_thread_count": "t",
    "parameters.inter_op_thread_count": "o",
    "parameters.INFERENCE_NUM_THREADS": "t",
    "parameters.NUM_STREAMS": "st",
    "parameters.INTRA_OP_THREAD_COUNT": "t",
    "parameters.INTER_OP_THREAD_COUNT": "o",
    "dynamic_batching": "dyn",
    "dynamic_batching.max_queue_delay_microseconds": "d",
    "dynamic_batching.preferred_batch_size": "p",
    "sequence_batching": "seq",
    "max_batch_size": "b",
    "optimization.graph.level": "g",
    "concurrency": "c",
    "batch_size": "bs",
    "protocol": "",
    "rate": "r",
    "arrivals": "",
    "sequence_length": "s",
    "streaming": "stream",
    "shared_memory": "shm",
}
_ABSENT = {"rate": "closed", "sequence_length": "single"}
"""What the absence of a field of the load is called."""
_UNFIT = re.compile(r"[^A-Za-z0-9_.+]+")
_LONGEST = 24


def label_axes(axes: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Name every value of every axis, given by canonical path, in the order of its values.

    Within an axis all labels differ, and no two axes share one. The same axes always get the same labels.
    """
    taken: set[str] = set()
    result: dict[str, list[str]] = {}
    for number, (path, values) in enumerate(axes.items(), 1):
        for prefix in _prefixes(path, number):
            labels = _unique([_label(prefix, path, value) for value in values])
            if taken.isdisjoint(labels):
                break
        taken.update(labels)
        result[path] = labels
    return result


def _prefixes(path: str, number: int) -> Iterable[str]:
    """Yield what the labels of an axis may begin with, the shortest first, the last one surely its own."""
    if model := other_model(path):
        inner = path.removeprefix(f"{model}:")
        yield from (f"{_fit(model)}.{prefix}" for prefix in _prefixes(inner, number))
        return
    parts = path.split(".")
    yield _PREFIXES.get(path, _initials(parts[-2] if parts[-1] == "enable" and len(parts) > 1 else parts[-1]))
    yield "".join(_initials(part) for part in parts)
    yield _fit(path)
    yield f"axis{number}."


def _label(prefix: str, path: str, value: Any) -> str:
    if value is None:
        return _ABSENT.get(path) or f"no{prefix or _initials(path.rpartition('.')[2])}"
    if isinstance(value, Mapping):
        inner = (_label(_PREFIXES.get(f"{path}.{name}", _initials(name)), name, held) for name, held in value.items())
        return ".".join([prefix, *inner])[:_LONGEST]
    if isinstance(value, list):
        return prefix + ".".join(_text(path, inner) for inner in value)[:_LONGEST]
    return prefix + _text(path, value)


def _text(path: str, value: Value | Phases | tuple[int, int]) -> str:
    if isinstance(value, Phases):
        return "_".join("to".join(map(_number, dict.fromkeys((p.first, p.last)))) for p in value.phases)[:_LONGEST]
    if isinstance(value, tuple):
        return "to".join(map(str, value))
    if path == "rate" and isinstance(value, float):
        return _number(value)
    if path == "arrivals":
        return _fit(PurePath(str(value)).stem)
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        unit = "us" if path.endswith("_microseconds") else ""
        return f"{value}{unit}".replace("-", "m")
    if isinstance(value, Mapping):
        return ".".join(_text(name, held) for name, held in value.items())
    if isinstance(value, str):
        return _fit(value.removeprefix("KIND_").lower() if value.isupper() else value)
    return _fit(str(value))


def _number(rate: float) -> str:
    return str(int(rate)) if rate == int(rate) else f"{rate:g}".replace("-", "m")


def _unique(labels: list[str]) -> list[str]:
    """Number the labels of an axis where more than one value would have the same."""
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label}.{number}" for number, label in enumerate(labels, 1)]


def _initials(name: str) -> str:
    return "".join(word[0] for word in re.split(r"[^A-Za-z0-9]+", name) if word).lower() or "x"


def _fit(text: str) -> str:
    return _UNFIT.sub("_", text).strip("_")[:_LONGEST]
