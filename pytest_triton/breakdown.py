"""Where the time of a request went, and the advice that follows from it. From numbers only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from pytest_triton.case import Load
from pytest_triton.measurement import Measurement, server_metrics
from pytest_triton.observation import ServerStatistics
from pytest_triton.quantities import Unit, show
from pytest_triton.validity import client_share
from pytest_triton.verdict import Outcome, Verdict

NETWORK = "network + client"

_SERVER_PARTS = {
    "queue": "server_queue",
    "input": "server_compute_input",
    "infer": "server_compute_infer",
    "output": "server_compute_output",
}
_BUSY_CLIENT = 0.70
_COLD = 3.0
"""How many times a mean request the first one takes where it is the cold start that counts."""
_MOST = 0.50
_SOME = 0.15
_UNFILLED = 1.5


def components(measurement: Measurement) -> list[tuple[str, float]]:
    """Return what a mean request's time consists of: label and seconds, in the order it goes through them.

    Queue, input, infer and output as Triton counts them; the rest of the mean latency is network and client, never
    below 0. Empty when the server's own statistics are not known.
    """
    metrics = measurement.metrics
    parts = [(label, metrics[name].value) for label, name in _SERVER_PARTS.items() if name in metrics]
    mean = metrics.get("mean")
    if parts and mean is not None and math.isfinite(mean.value):
        parts.append((NETWORK, max(0.0, mean.value - sum(seconds for _, seconds in parts))))
    return parts


def split(statistics: ServerStatistics, mean: float) -> dict[str, float]:
    """Return the components of requests that took ``mean`` seconds and that the server counted so; they add up to it.

    What the network and the client took may come out below 0 where few requests were counted.
    """
    counted = dict(server_metrics(statistics))
    parts = {label: counted.get(name, 0.0) for label, name in _SERVER_PARTS.items()}
    return {**parts, NETWORK: mean - sum(parts.values())}


def shares(measurement: Measurement) -> dict[str, float]:
    """Return the components as fractions of their sum; empty when nothing is known."""
    parts = components(measurement)
    total = sum(seconds for _, seconds in parts)
    return {label: seconds / total for label, seconds in parts} if total > 0 else {}


@dataclass(frozen=True, slots=True)
class Called:
    """What the server counted of a model that the measured one calls: mean times of a request to it, in seconds.

    ``total`` is what all requests to it took together. ``batch`` is None where nothing was executed.
    """

    requests: int
    executions: int
    total: float
    server_queue: float = 0.0
    server_compute_input: float = 0.0
    server_compute_infer: float = 0.0
    server_compute_output: float = 0.0
    batch: float | None = None

    def as_dict(self) -> dict[str, float]:
        """Return it as JSON has it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def called(measurement: Measurement) -> dict[str, Called]:
    """Return what a request took in each of the models that the measured one calls, by name."""
    return {
        name: Called(
            counted.success_count + counted.fail_count,
            counted.execution_count,
            (counted.queue_ns + counted.compute_input_ns + counted.compute_infer_ns + counted.compute_output_ns) / 1e9,
            **dict(server_metrics(counted)),
        )
        for name, counted in measurement.composing.items()
    }


def advice(
    measurement: Measurement,
    verdict: Verdict | None = None,
    load: Load | None = None,
    *,
    batches: bool = True,
    warms: bool = False,
) -> str:
    """Say in one sentence what the numbers suggest to try next; empty when they suggest nothing.

    ``verdict`` tells which bounds were missed, ``load`` how many requests were in flight and how large they were,
    ``batches`` whether the model can batch at all (its max_batch_size is not 0), ``warms`` whether it has a
    model_warmup.
    """
    if measurement.failures:
        reason, _ = max(measurement.reasons.items(), key=lambda item: item[1], default=("unknown", 0))
        return (
            f"{measurement.failures} of {measurement.requests} requests failed, most of them with {reason!r}: "
            "find out why before you tune anything."
        )
    suffering = _find_suffering(verdict)
    if suffering:
        return (
            f"Only bounds on {suffering} are missed, which shares the machine with this load: try fewer instances here "
            f"(instance_group.count), one more of {suffering}, or less load."
        )
    cold = _find_cold_start(measurement, verdict)
    if cold:
        return f"{cold}: " + (
            "its model_warmup does not send what these requests are like: give it their shapes."
            if warms
            else "configure model_warmup, so that Triton sends the first ones before the model counts as ready."
        )
    busy = _client_share(measurement)
    if busy > _BUSY_CLIENT:
        return (
            f"The load generator used {busy:.0%} of a core, so it is near its own limit: give it more worker processes "
            "(--triton-load-workers), or send larger batches or fewer requests at once."
        )
    slowest = _name_slowest(measurement)
    if slowest:
        return slowest
    share = shares(measurement)
    if not share:
        return ""
    if batches and _never_fills(measurement, load) and share["queue"] >= _SOME:
        batch = measurement.metrics["batch"].value
        return (
            f"Requests wait in the queue ({share['queue']:.0%} of their time), yet an execution carries only "
            f"{batch:.1f} inferences: try dynamic_batching, with some max_queue_delay."
        )
    if share["queue"] >= _MOST:
        return (
            f"Requests spend {share['queue']:.0%} of their time waiting in the queue: "
            "try one instance more (instance_group.count), or less load."
        )
    if _wants_throughput(verdict) and share["queue"] < _SOME and load is not None:
        return (
            f"Requests hardly wait in the queue ({share['queue']:.0%} of their time), so the server takes more load: "
            + ("raise the rate." if load.open_loop else f"try a concurrency above {load.concurrency}.")
        )
    if share["infer"] >= _MOST:
        return (
            f"The model itself takes {share['infer']:.0%} of the time: look for a faster configuration with "
            "triton_search (instances, threads, graph optimisation)."
        )
    if share.get(NETWORK, 0.0) >= _MOST:
        return (
            f"{share[NETWORK]:.0%} of the time is spent outside the model's queue and computation, in the network, the "
            f"server's front end and the client: try {_shorten_the_way(load)}."
        )
    if share["input"] + share["output"] >= _MOST:
        shared = load is not None and load.shared_memory != "none"
        return (
            f"Copying inputs and outputs takes {share['input'] + share['output']:.0%} of the time: try "
            + ("" if shared else "shared_memory='system', ")
            + "smaller tensors or data types, or pinned memory where there is a GPU."
        )
    return ""


def _find_suffering(verdict: Verdict | None) -> str:
    """Name the models under load beside whose bounds are missed, if no others are; "" otherwise."""
    missed = [check.bound.metric.model for check in verdict.checks if check.outcome is Outcome.FAIL] if verdict else []
    return " and ".join(dict.fromkeys(missed)) if all(missed) else ""


def _find_cold_start(measurement: Measurement, verdict: Verdict | None) -> str:
    """Say how much slower the first request was, if that is all that is missed; "" otherwise."""
    first, mean = measurement.metrics.get("first_request_latency"), measurement.metrics.get("mean")
    if _missed(verdict) != ["first_request_latency"] or first is None or mean is None:
        return ""
    if not math.isfinite(mean.value) or first.value < _COLD * mean.value:
        return ""
    return (
        f"The first request after a load took {show(first.value, Unit.SECONDS)}, "
        f"{first.value / mean.value:.0f} times as long as the mean of those after it"
    )


def _client_share(measurement: Measurement) -> float:
    """Return the share of a core that the load generator used, of several processes the busiest one."""
    if measurement.trace is not None:
        return client_share(measurement.trace)
    client = measurement.metrics.get("client_cpu")
    return client.value if client is not None else 0.0


def _shorten_the_way(load: Load | None) -> str:
    """Name what sends less, or in a shorter way, than ``load`` does."""
    if load is None:
        return "larger batches, or less data per inference"
    ways = ["protocol='grpc'"] if load.protocol == "http" else []
    ways += ["shared_memory='system'"] if load.shared_memory == "none" else []
    return ", ".join([*ways, "larger batches"]) + ", or less data per inference"


def _name_slowest(measurement: Measurement) -> str:
    """Name the model that most of the time goes to, of those that the measured one calls; "" where there is none."""
    parts = called(measurement)
    total = sum(part.total for part in parts.values())
    mean = measurement.metrics.get("mean")
    if total <= 0 or (mean is not None and total < _MOST * mean.value * measurement.requests):
        return ""
    name, part = max(parts.items(), key=lambda item: item[1].total)
    waits = part.server_queue > part.server_compute_infer
    try_this = "one instance more of it, or dynamic_batching" if waits else "a faster configuration of it"
    return (
        f"Of the models that it calls, {name} takes {part.total / total:.0%} of the time, most of it "
        f"{'in its queue' if waits else 'computing'}: try {try_this}."
    )


def _never_fills(measurement: Measurement, load: Load | None) -> bool:
    """Tell whether executions carry hardly more than one request though several were in flight."""
    batch = measurement.metrics.get("batch")
    if batch is None or load is None or not isinstance(load.concurrency, int):
        return False
    return (load.open_loop or load.concurrency > 1) and batch.value < _UNFILLED * load.batch_size


def _wants_throughput(verdict: Verdict | None) -> bool:
    return _missed(verdict) == ["throughput"]


def _missed(verdict: Verdict | None) -> list[str]:
    return [c.bound.metric.name for c in verdict.checks if c.outcome is Outcome.FAIL] if verdict else []
