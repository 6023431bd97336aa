"""A patch names fields of ModelConfig as the proto does, and is checked before any model is at hand."""

import pytest

from pytest_triton.errors import AxisError
from pytest_triton.repository.configuration import parse, to_json
from pytest_triton.repository.fields import ALIASES, canonical_path, canonical_value
from pytest_triton.repository.patch import apply, canonical, problem

BASE = """
name: "m"
max_batch_size: 8
instance_group [ { name: "a" kind: KIND_CPU count: 1 }, { name: "b" kind: KIND_CPU count: 2 } ]
"""


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        ({"max_batch_size": 16}, "max_batch_size: 16"),
        ({"instance_group.count": 2}, "instance_group { count: 2 }"),
        ({"instance_count": 2, "instance_kind": "KIND_CPU"}, "instance_group { count: 2 kind: KIND_CPU }"),
        ({"instance_group": [{"count": 1}, {"count": 2}]}, "instance_group [ { count: 1 }, { count: 2 } ]"),
        ({"dynamic_batching": {}}, "dynamic_batching { }"),
        ({"max_queue_delay": "1.5ms"}, "dynamic_batching { max_queue_delay_microseconds: 1500 }"),
        ({"max_queue_delay": 0}, "dynamic_batching { }"),
        ({"preferred_batch_size": [4, 8]}, "dynamic_batching { preferred_batch_size: [4, 8] }"),
        (
            {"dynamic_batching": {"preserve_ordering": True}, "preferred_batch_size": (4,)},
            "dynamic_batching { preserve_ordering: true preferred_batch_size: 4 }",
        ),
        ({"parameters.a": 2}, 'parameters { key: "a" value { string_value: "2" } }'),
        ({"parameters.a": True}, 'parameters { key: "a" value { string_value: "true" } }'),
        ({"parameters.a": 0.5}, 'parameters { key: "a" value { string_value: "0.5" } }'),
        ({"parameters.a": {"string_value": "x"}}, 'parameters { key: "a" value { string_value: "x" } }'),
        ({"parameters.memory.shrink": "cpu:0"}, 'parameters { key: "memory.shrink" value { string_value: "cpu:0" } }'),
        ({"parameters": {"a": 1}}, 'parameters { key: "a" value { string_value: "1" } }'),
        ({"graph_level": -1}, "optimization { graph { level: -1 } }"),
        ({"optimization.cuda.graphs": True}, "optimization { cuda { graphs: true } }"),
        (
            {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": {"precision_mode": "FP16"}}]},
            'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt"'
            ' parameters { key: "precision_mode" value: "FP16" } } } }',
        ),
        (
            {"optimization.execution_accelerators.cpu_execution_accelerator.name": "openvino"},
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
        ),
        ({"response_cache.enable": True}, "response_cache { enable: true }"),
        (
            {
                "model_warmup": [
                    {"name": "w", "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": True}}}
                ]
            },
            'model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32 dims: 3 zero_data: true } } }',
        ),
        (
            {"dynamic_batching.priority_queue_policy.1.max_queue_size": 4},
            "dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 4 } } }",
        ),
        ({"metric_tags.team": "vision"}, 'metric_tags { key: "team" value: "vision" }'),
        (
            {"sequence_batching.direct.minimum_slot_utilization": 0.5},
            "sequence_batching { direct { minimum_slot_utilization: 0.5 } }",
        ),
    ],
)
def test_a_patch_on_an_empty_configuration(patch: dict[str, object], text: str) -> None:
    assert apply(parse(""), patch) == parse(text)


def test_the_configuration_itself_stays_as_it_is() -> None:
    config = parse(BASE)
    apply(config, {"max_batch_size": 1})
    assert config == parse(BASE)


def test_a_path_through_a_repeated_field_applies_to_every_element() -> None:
    groups = apply(parse(BASE), {"instance_group.count": 3}).instance_group
    assert [(group.name, group.count) for group in groups] == [("a", 3), ("b", 3)]


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ("dynamic_batching { preferred_batch_size: 4 }", "dynamic_batching"),
        ('parameters { key: "a" value { string_value: "1" } }', "parameters.a"),
        ("instance_group { }", "instance_group"),
        ("max_batch_size: 4", "max_batch_size"),
        ("", "dynamic_batching.preferred_batch_size"),
        ("", "parameters.a"),
    ],
)
def test_none_removes_a_field_and_makes_nothing(before: str, path: str) -> None:
    assert apply(parse(before), {path: None}) == parse("")


def test_a_field_inside_a_removed_one_is_a_contradiction() -> None:
    with pytest.raises(AxisError, match="which the same patch removes"):
        apply(parse(""), {"dynamic_batching": None, "max_queue_delay": "1ms"})


def test_a_model_keeps_its_scheduler_unless_the_patch_removes_it() -> None:
    config = parse("sequence_batching { }")
    with pytest.raises(AxisError, match="cannot stand beside sequence_batching"):
        apply(config, {"dynamic_batching": {}})
    assert apply(config, {"dynamic_batching": {}, "sequence_batching": None}) == parse("dynamic_batching { }")


def test_inputs_are_not_made_up() -> None:
    with pytest.raises(AxisError, match="declares no input"):
        apply(parse(""), {"input.dims": [3]})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("instance_grup.count", "did you mean 'instance_group.count'?"),
        ("instance_group.cuont", "did you mean 'instance_group.count'?"),
        ("max_queue_dealy", "did you mean 'max_queue_delay'?"),
        ("maxBatchSize", "did you mean 'max_batch_size'?"),
        ("default_timeout_microseconds", "'dynamic_batching.default_queue_policy.default_timeout_microseconds'"),
        ("max_batch_size.count", "has no field"),
        ("max_batch_size.", "has no field"),
        ("dynamic_batching.priority_queue_policy.high.max_queue_size", "whole numbers"),
        ("", "A path begins with a field of ModelConfig"),
        ("zzz", "A path begins with a field of ModelConfig"),
    ],
)
def test_an_unknown_path_is_answered_with_the_nearest(path: str, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        canonical_path(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_stands_for_a_path(alias: str) -> None:
    assert canonical_path(ALIASES[alias]) == ALIASES[alias]
    assert canonical_path(alias) == ALIASES[alias]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("max_batch_size", "many", "takes a whole number"),
        ("max_batch_size", 1.5, "takes a whole number"),
        ("max_batch_size", True, "takes a whole number"),
        ("max_batch_size", -1, "a whole number from 0 to 2147483647"),
        ("max_batch_size", 2**31, "a whole number from 0 to 2147483647"),
        ("instance_group.count", 0, "a whole number from 1 to"),
        ("instance_group", [{"count": 0}], "instance_group.count takes a whole number from 1"),
        ("instance_group", {"count": 1}, "write [{'count': 1}]"),
        ("instance_group.kind", "KIND_GPUS", "did you mean 'KIND_GPU'?"),
        ("instance_group.kind", "x", "one of KIND_AUTO, KIND_GPU"),
        ("instance_group.kind", 1, "one of KIND_AUTO, KIND_GPU"),
        ("preferred_batch_size", 4, "write [4]"),
        ("preferred_batch_size", [0], "from 1 to"),
        ("max_queue_delay", "100", "Write a duration"),
        ("max_queue_delay", "0.5us", "whole microseconds"),
        ("max_queue_delay", -1, "from 0 to"),
        ("dynamic_batching", True, "or None to remove it"),
        ("dynamic_batching", {"max_queue_delay": 1}, "did you mean 'max_queue_delay_microseconds'?"),
        ("response_cache.enable", 1, "True or False"),
        ("parameters.a", [1], "a text, a number"),
        ("parameters", 3, "a mapping from key to value"),
        ("optimization.graph.level", "1", "a whole number"),
    ],
)
def test_an_impossible_value_is_refused_with_what_is_possible(path: str, value: object, says: str) -> None:
    with pytest.raises(AxisError) as caught:
        canonical_value(path, value)
    assert says in str(caught.value)
    assert ALIASES.get(path, path) in caught.value.problem


def test_a_canonical_patch_is_plain_json() -> None:
    assert canonical({"max_queue_delay": "2ms", "preferred_batch_size": (4, 8), "parameters.t": 1}) == {
        "dynamic_batching.max_queue_delay_microseconds": 2000,
        "dynamic_batching.preferred_batch_size": [4, 8],
        "parameters.t": "1",
    }
    assert canonical_value("dynamic_batching", None) is None


def test_a_path_and_its_alias_in_one_patch() -> None:
    with pytest.raises(AxisError, match="patched twice"):
        canonical({"instance_count": 1, "instance_group.count": 2})


def test_a_patched_configuration_survives_json() -> None:
    config = apply(parse(BASE), {"dynamic_batching": {}, "max_batch_size": 0})
    assert "max_batch_size" not in to_json(config)
    assert to_json(config)["dynamic_batching"] == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BASE, None),
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }", "more than max_batch_size 4"),
        ("max_batch_size: 0 dynamic_batching { preferred_batch_size: 1 }", "more than max_batch_size 0"),
        ("max_batch_size: -1", "0 (no batching) or more"),
        ("max_batch_size: 4 sequence_batching { oldest { preferred_batch_size: 8 } }", "sequence_batching.oldest"),
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level is 0"),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }",
            "goes with one priority level",
        ),
        ("sequence_batching { } response_cache { enable: true }", "does not work with sequence_batching"),
        ("ensemble_scheduling { } instance_group { }", "an ensemble has no instances"),
    ],
)
def test_what_triton_would_refuse_whatever_the_model(text: str, says: str | None) -> None:
    found = problem(parse(text))
    assert found is None if says is None else found is not None and says in found
