"""How much of a load a configuration can take at a time, as far as its fields say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_triton.switching import count_instances

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class Size:
    """What a configuration says of its capacity.

    ``batching`` tells whether requests are put together into batches of up to ``max_batch_size``; ``queue_delay`` is
    the longest, in seconds, that one is held back for it.
    """

    instances: int
    max_batch_size: int
    batching: bool
    queue_delay: float


def size_of(configuration: ModelConfig, steps: Iterable[ModelConfig] = ()) -> Size:
    """Read the capacity off a configuration. That of an ensemble is its steps': the one that takes most counts."""
    sizes = [size_of(step) for step in steps]
    if sizes:
        widest = max(sizes, key=lambda size: size.instances * (size.max_batch_size if size.batching else 1))
        return replace(widest, queue_delay=sum(size.queue_delay for size in sizes))
    sequences = configuration.sequence_batching
    delays = (
        configuration.dynamic_batching.max_queue_delay_microseconds,
        sequences.oldest.max_queue_delay_microseconds,
        sequences.direct.max_queue_delay_microseconds,
    )
    batching = configuration.HasField("dynamic_batching") or configuration.HasField("sequence_batching")
    return Size(
        instances=max(count_instances(configuration), 1),
        max_batch_size=configuration.max_batch_size,
        batching=batching and configuration.max_batch_size > 1,
        queue_delay=max(delays) / 1e6,
    )
