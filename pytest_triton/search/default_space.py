"""The space of a search that names no axes: what the model and the machine allow.

=================================================  ==============================  ==================================
axis                                               values                          where
=================================================  ==============================  ==================================
``instance_group.count``                           1, 2, 4, at most the cores      always; on a GPU all three
the parameter for threads, see ``_THREADS``        1, and the cores, at most 4     ``onnxruntime``, ``openvino`` and
                                                                                   ``pytorch`` on a CPU of several
``parameters.NUM_STREAMS``                         1, and the same number          ``openvino``, the same
``optimization.execution_accelerators``            as it is, TensorRT              ``onnxruntime`` on a GPU
``optimization.cuda.graphs``                       False, True                     ``tensorrt``
``max_batch_size``                                 the configured one, its fourth  dynamic batching is possible
                                                   and its sixteenth
``dynamic_batching``                               none, without and with a delay  the same; without it only the
                                                                                   configured ``max_batch_size``
``dynamic_batching.max_queue_delay_microseconds``  0, 1 ms                         instead, where it has priorities or
                                                                                   queue policies, which stay
=================================================  ==============================  ==================================

Dynamic batching is possible where config.pbtxt says a ``max_batch_size`` of 2 or more and no other scheduler. That
makes at most 42 candidates, 63 for ``openvino``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DELAY = 1000
"""How long a batcher holds requests back, in microseconds."""
_MOST_CORES = 4
_SIXTEENTH = 16
_THREADS = {
    "onnxruntime": "parameters.intra_op_thread_count",
    "openvino": "parameters.INFERENCE_NUM_THREADS",
    "pytorch": "parameters.INTRA_OP_THREAD_COUNT",
}
_STREAMS = "parameters.NUM_STREAMS"


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model before it is loaded. ``max_batch_size`` is 0 where it does not batch or is not known.

    ``scheduled`` is set for one with a scheduler other than the dynamic batcher, ``policies`` for one whose dynamic
    batcher has priorities or queue policies, ``accelerated`` for one with execution accelerators. ``cores`` are those
    of the machine that serves it.
    """

    backend: str = ""
    max_batch_size: int = 0
    gpu: bool = False
    scheduled: bool = False
    policies: bool = False
    accelerated: bool = False
    cores: int = 1

    @property
    def batches(self) -> bool:
        """Whether dynamic batching is possible."""
        return self.max_batch_size >= 2 and not self.scheduled


def default_axes(model: Model) -> dict[str, list[Any]]:
    """Return the axes with their values."""
    axes: dict[str, list[Any]] = {
        "instance_group.count": [count for count in (1, 2, 4) if model.gpu or count <= max(model.cores, 1)]
    }
    if model.backend in _THREADS and not model.gpu and model.cores > 1:
        axes[_THREADS[model.backend]] = [1, min(model.cores, _MOST_CORES)]
        if model.backend == "openvino":
            axes[_STREAMS] = [1, min(model.cores, _MOST_CORES)]
    if model.backend == "onnxruntime" and model.gpu and not model.accelerated:
        tensorrt = {"gpu_execution_accelerator": [{"name": "tensorrt"}]}
        axes["optimization.execution_accelerators"] = [None, tensorrt]
    if model.backend == "tensorrt":
        axes["optimization.cuda.graphs"] = [False, True]
    if model.batches:
        axes |= _batching(model)
    return axes


def _batching(model: Model) -> dict[str, list[Any]]:
    largest = model.max_batch_size
    sizes = sorted({size for size in (largest // _SIXTEENTH, largest // 4, largest) if size >= 2})
    if model.policies:
        return {"max_batch_size": sizes, "dynamic_batching.max_queue_delay_microseconds": [0, _DELAY]}
    return {
        "max_batch_size": sizes,
        "dynamic_batching": [None, {}, {"max_queue_delay_microseconds": _DELAY}],
    }


def is_idle(model: Model, values: Mapping[str, Any]) -> bool:
    """Tell whether a combination is the same as another one in effect.

    So it is with a smaller batch and no batcher to fill it, and with more streams than threads.
    """
    if values.get(_STREAMS, 1) > values.get(_THREADS["openvino"], _MOST_CORES):
        return True
    removed = "dynamic_batching" in values and values["dynamic_batching"] is None
    return removed and values["max_batch_size"] != model.max_batch_size
