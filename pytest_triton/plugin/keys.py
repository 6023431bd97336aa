"""What the plugin keeps with pytest's own objects, by name. Light: every pytest run imports this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_triton.plugin.state import State
    from pytest_triton.results.record import Record

STATE: pytest.StashKey[State] = pytest.StashKey()
"""With the config: what the session knows, from its first use of ours on."""
RECORDS: pytest.StashKey[list[Record]] = pytest.StashKey()
"""With an item: the records of its calls."""
PLAN = "_triton_plan"
"""The fixture that carries what a test measures."""
TURNS = "one measurement at a time on a device"
"""What the header says of the lease on a device, which the workers of xdist and other runs wait for, too."""
MARKERS = {
    "triton_model": "triton_model(name): the model to measure. Default: the model whose folder the test file lies in.",
    "triton_load": "triton_load(concurrency=1, batch_size=1, protocol='http', rate=None, arrivals='poisson', "
    "sequence_length=None, streaming=False, shared_memory='none'): how requests are sent. concurrency may be 'auto'; "
    "rate='400/s' sends when requests are due, whatever is in flight. A list means one test case each.",
    "triton_slo": "triton_slo(candidate=None, model=None, **bounds): what the model must deliver, as in p99='25ms', "
    "throughput='400/s', error_rate='0%', batch=('>=', 2), or both sides, cpu=[('>=', '10%'), ('<=', '80%')]. "
    "candidate is the id of the one that the bounds are for, maps axes to values, or is a list of these; model is one "
    "that is under load beside this one (triton_beside), whose bounds they are then.",
    "triton_beside": "triton_beside(model, concurrency=None, batch_size=1, protocol='http', rate=None, "
    "arrivals='poisson', shape={}, data=None, seed=0): another model of the server, and the load that it is under "
    "while this one is measured. May stand there several times, for several models. 'other:throughput' is a metric of "
    "one, for the objective of a search.",
    "triton_input": "triton_input(shape={}, data=None, seed=0, count=1, validate='none'): what the requests carry. "
    "Shapes as in dims, a size (low, high) drawn for each request; data is 'zero', a path (.npz, a folder, or Perf "
    "Analyzer's .json), a callable (rng, inputs), or maps inputs to an array, a scalar or a (low, high) range.",
    "triton_search": "triton_search(axes=None, objective='throughput', *, strategy='race', exclude=None, trials=None, "
    "sampler='tpe', storage=None, seed=0, reference=None, tolerance=None, unload_first=False, restart='needed'): "
    "measure the combinations of the axes, fields of ModelConfig or of the load, each mapped to a list of values, a "
    "Range or Powers, and pick the best; or candidates given whole, a mapping each, by their names. Without axes: what "
    "the model and the machine allow. exclude(values) leaves a combination out. strategy is 'race', 'exhaustive' or "
    "'optuna', which proposes so many trials. reference is an ONNX file or a callable that outputs must agree with.",
}
"""The markers, with their signatures."""


def uses_triton(item: pytest.Item) -> bool:
    """Tell whether a collected test measures."""
    return PLAN in getattr(item, "fixturenames", ())
