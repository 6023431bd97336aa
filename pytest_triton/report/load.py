"""How a load is told: in a sentence, on the terminal's line, in a table's cell. From its form in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_triton.quantities import Unit, show

_ARRIVALS = {"poisson": "Poisson", "constant": "constant"}


def describe(load: Mapping[str, Any]) -> str:
    """Say in words how requests are sent, leaving out what is as by default: ``rate 400/s, Poisson, gRPC``."""
    if "arrivals" in load:
        arrivals = load["arrivals"]
        how = _ARRIVALS.get(arrivals, f"intervals of {arrivals}")
        begin = [f"rate {_rate(load['rate'])}", how] if "rate" in load else [how]
    elif "sequence_length" in load:
        begin = []
    else:
        begin = [f"concurrency {load['concurrency']}"]
    return ", ".join([*begin, *_others(load)])


def head(load: Mapping[str, Any]) -> str:
    """Begin the terminal's line of a load as Perf Analyzer begins it: ``Concurrency: 4, batch size: 8``."""
    if "arrivals" in load:
        arrivals = load["arrivals"]
        begin = f"Request rate: {_bare_rate(load['rate'])}" if "rate" in load else f"Request intervals: {arrivals}"
        begin += ", constant" if arrivals == "constant" else ""
    else:
        begin = f"Concurrency: {load['concurrency']}"
    batch = load["batch_size"]
    return ", ".join([begin, *([f"batch size: {batch}"] if batch != 1 else []), *_ways(load), *_sequences(load)])


def cell(load: Mapping[str, Any]) -> str:
    """Write a load as shortly as a table wants it: ``c4``, ``r400 b8 grpc``."""
    parts = [f"c{load['concurrency']}"]
    if "arrivals" in load:
        rate = load.get("rate")
        parts = [load["arrivals"] if rate is None else f"r{_bare_rate(rate)}"]
        if load["arrivals"] == "constant":
            parts.append("const")
    if load["batch_size"] != 1:
        parts.append(f"b{load['batch_size']}")
    if load.get("protocol", "http") != "http":
        parts.append(load["protocol"])
    if load.get("streaming"):
        parts.append("stream")
    if "sequence_length" in load:
        parts.append(f"s{_length(load['sequence_length'], '-')}")
    if "shared_memory" in load:
        parts.append(f"shm-{load['shared_memory']}")
    return " ".join(parts)


def _others(load: Mapping[str, Any]) -> Iterator[str]:
    yield from _sequences(load)
    if load["batch_size"] != 1:
        yield f"batch size {load['batch_size']}"
    yield from _ways(load)


def _sequences(load: Mapping[str, Any]) -> Iterator[str]:
    if "sequence_length" in load:
        yield f"sequences of {_length(load['sequence_length'], ' to ')}, {load['concurrency']} at a time"


def _ways(load: Mapping[str, Any]) -> Iterator[str]:
    if load.get("protocol", "http") != "http":
        yield "gRPC stream" if load.get("streaming") else "gRPC"
    if "shared_memory" in load:
        yield f"{'CUDA' if load['shared_memory'] == 'cuda' else load['shared_memory']} shared memory"


def _length(length: int | list[int], between: str) -> str:
    return between.join(map(str, length)) if isinstance(length, list) else str(length)


def _rate(rate: float | list[list[float]]) -> str:
    if not isinstance(rate, list):
        return f"{_number(rate)}/s"
    return ", ".join(
        f"{_number(first)}/s"
        + (f" to {_number(last)}/s" if last != first else "")
        + f" for {show(seconds, Unit.SECONDS)}"
        for seconds, first, last in rate
    )


def _bare_rate(rate: float | list[list[float]]) -> str:
    """Write the rate without its unit; of one that changes, all that it is in turn."""
    if not isinstance(rate, list):
        return _number(rate)
    return "/".join(_number(first) + (f"-{_number(last)}" if last != first else "") for _, first, last in rate)


def _number(rate: float) -> str:
    return str(int(rate)) if rate == int(rate) else f"{rate:.4g}"
