"""A patched config.pbtxt changes where it must and nowhere else."""

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_triton.errors import ConfigurationError
from pytest_triton.repository import textfile
from pytest_triton.repository.configuration import parse
from pytest_triton.repository.edits import Body, apply_edits
from pytest_triton.repository.patch import apply
from pytest_triton.repository.syntax import Span, UnreadableSyntax, locate
from pytest_triton.repository.textfile import rewrite

NASTY = """\
# Detector, see ticket { 12 } [ for ] "the" reason
name: 'detector' ; platform: "onnxruntime" "_onnx",
max_batch_size : 0x8   # eight
input [
  # the image
  { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, # height
    -1 ] },
  { name: "thres\\"hold" , data_type: TYPE_FP32 ; dims: 1 dims: 2 }
]
output { name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] }

instance_group [
  {
    # two on the CPU
    count: 2      # per device
    kind: KIND_CPU
  } # end of group
]
dynamic_batching < preferred_batch_size: [ 4 ] >
parameters: {
  key: "intra_op_thread_count"  # threads
  value: { string_value: "1" }
}
parameters [ { key: "a" value { string_value: 'x#y' } }, { value { string_value: "2" } key: "b" } ]
# the end"""


@pytest.mark.parametrize(
    ("patch", "before", "after"),
    [
        ({"max_batch_size": 16}, "max_batch_size : 0x8   # eight", "max_batch_size : 16   # eight"),
        ({"max_batch_size": 0}, "max_batch_size : 0x8   # eight", "max_batch_size : 0   # eight"),
        ({"instance_group.count": 3}, "count: 2      # per device", "count: 3      # per device"),
        ({"instance_group.kind": "KIND_GPU"}, "kind: KIND_CPU", "kind: KIND_GPU"),
        (
            {"instance_group.gpus": [0, 1]},
            "    kind: KIND_CPU\n",
            "    kind: KIND_CPU\n    gpus: [0, 1]\n",
        ),
        (
            {"instance_group": [{"count": 2, "kind": "KIND_CPU"}, {"count": 1, "kind": "KIND_GPU"}]},
            "  } # end of group\n",
            "  }, # end of group\n  {\n    count: 1\n    kind: KIND_GPU\n  }\n",
        ),
        ({"preferred_batch_size": [4, 8]}, "[ 4 ] >", "[ 4, 8 ] >"),
        (
            {"max_queue_delay": "100us"},
            "[ 4 ] >",
            "[ 4 ] max_queue_delay_microseconds: 100 >",
        ),
        ({"dynamic_batching": None}, "dynamic_batching < preferred_batch_size: [ 4 ] >\n", ""),
        ({"parameters.intra_op_thread_count": 4}, '"1"', '"4"'),
        ({"parameters.a": "z"}, "'x#y'", '"z"'),
        ({"parameters.a": None}, """{ key: "a" value { string_value: 'x#y' } }, """, ""),
        ({"parameters.b": None}, """, { value { string_value: "2" } key: "b" }""", ""),
        (
            {"parameters.intra_op_thread_count": None},
            'parameters: {\n  key: "intra_op_thread_count"  # threads\n  value: { string_value: "1" }\n}\n',
            "",
        ),
        (
            {"parameters.c": 1},
            'key: "b" } ]',
            'key: "b" }, { key: "c" value { string_value: "1" } } ]',
        ),
        (
            {"response_cache.enable": True, "graph_level": 1},
            "# the end",
            "# the end\noptimization {\n  graph {\n    level: 1\n  }\n}\nresponse_cache {\n  enable: true\n}\n",
        ),
        ({"platform": None}, ' platform: "onnxruntime" "_onnx",', ""),
        ({"platform": "tensorrt_plan"}, '"onnxruntime" "_onnx"', '"tensorrt_plan"'),
        ({"output.dims": [-1, 5]}, "[ -1, 4 ]", "[ -1, 5 ]"),
    ],
)
def test_only_what_changes_is_touched(patch: dict[str, Any], before: str, after: str) -> None:
    assert NASTY.count(before) == 1
    config = apply(parse(NASTY), patch)
    text = rewrite(NASTY, config)
    assert text == NASTY.replace(before, after)
    assert parse(text) == config


A1 = 'parameters { key: "a" value { string_value: "1" } }\n'
A2 = 'parameters { key: "a" value { string_value: "2" } }\n'
A3 = 'parameters { key: "a" value { string_value: "3" } }\n'


@pytest.mark.parametrize(
    ("text", "patch", "result"),
    [
        ("", {"max_batch_size": 4}, "max_batch_size: 4\n"),
        ("# nothing yet\n", {"dynamic_batching": {}}, "# nothing yet\ndynamic_batching { }\n"),
        ("dynamic_batching {}", {"max_queue_delay": 1}, "dynamic_batching { max_queue_delay_microseconds: 1 }"),
        ("dynamic_batching { }", {"max_queue_delay": 1}, "dynamic_batching { max_queue_delay_microseconds: 1 }"),
        (
            "dynamic_batching {\n}\n",
            {"max_queue_delay": 1},
            "dynamic_batching {\n  max_queue_delay_microseconds: 1\n}\n",
        ),
        (
            "optimization {\n  graph { # default\n  }\n}\n",
            {"graph_level": 1},
            "optimization {\n  graph { # default\n    level: 1\n  }\n}\n",
        ),
        ("instance_group [ ]\n", {"instance_count": 2}, "instance_group [ { count: 2 } ]\n"),
        ("instance_group []\n", {"instance_count": 2}, "instance_group [ { count: 2 } ]\n"),
        (
            "dynamic_batching { preferred_batch_size: [] }",
            {"preferred_batch_size": [4]},
            "dynamic_batching { preferred_batch_size: [4] }",
        ),
        (
            "dynamic_batching { preferred_batch_size: 2 preferred_batch_size: 4 }",
            {"preferred_batch_size": [8]},
            "dynamic_batching { preferred_batch_size: [8] }",
        ),
        (
            "instance_group { count: 1 } instance_group { count: 2 }\n",
            {"instance_count": 3},
            "instance_group { count: 3 } instance_group { count: 3 }\n",
        ),
        (
            A1 + "max_batch_size: 1\n",
            {"parameters.b": 2},
            A1 + 'parameters {\n  key: "b"\n  value {\n    string_value: "2"\n  }\n}\nmax_batch_size: 1\n',
        ),
        (
            'parameters { key: "a" }\n',
            {"parameters.a": 2},
            'parameters { key: "a" value { string_value: "2" } }\n',
        ),
        (
            A1 + A2,
            {"parameters.a": 3},
            A1 + A3,
        ),
        (
            "name: 'm'\r\nmax_batch_size: 1\r\n",
            {"dynamic_batching": {"preserve_ordering": True}},
            "name: 'm'\r\nmax_batch_size: 1\r\ndynamic_batching {\r\n  preserve_ordering: true\r\n}\r\n",
        ),
        (
            "name: 'm' # the name\n# why eight\nmax_batch_size: 8 # eight\n",
            {"name": None, "max_batch_size": 4},
            "# why eight\nmax_batch_size: 4 # eight\n",
        ),
        (
            "dynamic_batching {\n  preferred_batch_size: [ 4 ]\n}\n",
            {"preferred_batch_size": None, "max_queue_delay": 5},
            "dynamic_batching {\n  max_queue_delay_microseconds: 5\n}\n",
        ),
        (
            'parameters [\n  { key: "a" value { string_value: "1" } }, # a\n  { key: "b" }\n]\n',
            {"parameters.a": None, "parameters.c": 3},
            'parameters [\n  {\n    key: "c"\n    value {\n      string_value: "3"\n    }\n  }, # a\n'
            '  { key: "b" }\n]\n',
        ),
        (
            "sequence_batching { }\nmax_batch_size: 1\n",
            {"sequence_batching": None, "dynamic_batching": {}},
            "max_batch_size: 1\ndynamic_batching { }\n",
        ),
    ],
)
def test_small_texts(text: str, patch: dict[str, Any], result: str) -> None:
    assert rewrite(text, apply(parse(text), patch)) == result


def test_the_same_configuration_leaves_the_text_alone() -> None:
    assert rewrite(NASTY, parse(NASTY)) == NASTY


def test_a_text_with_an_error_is_not_rewritten() -> None:
    with pytest.raises(ConfigurationError):
        rewrite("max_batchsize: 1", parse(""))


def test_syntax_of_other_messages_is_not_guessed() -> None:
    with pytest.raises(UnreadableSyntax):
        locate("[some.extension] { }")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.text(max_size=5),
    "max_batch_size": st.integers(0, 64),
    "instance_group": st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.text(max_size=3),
                "count": st.integers(1, 4),
                "kind": st.sampled_from(["KIND_AUTO", "KIND_CPU", "KIND_GPU"]),
                "gpus": st.lists(st.integers(0, 3), max_size=3),
            },
        ),
        max_size=3,
    ),
    "dynamic_batching": st.fixed_dictionaries(
        {},
        optional={
            "preferred_batch_size": st.lists(st.integers(1, 9), max_size=3),
            "max_queue_delay_microseconds": st.integers(0, 5),
            "preserve_ordering": st.booleans(),
            "default_queue_policy": st.fixed_dictionaries(
                {},
                optional={"timeout_action": st.sampled_from(["REJECT", "DELAY"]), "max_queue_size": st.integers(0, 3)},
            ),
            "priority_queue_policy": st.dictionaries(
                st.integers(0, 3).map(str),
                st.fixed_dictionaries({}, optional={"max_queue_size": st.integers(0, 3)}),
                max_size=2,
            ),
        },
    ),
    "parameters": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    "metric_tags": st.dictionaries(st.sampled_from("ab{#"), st.text("a}\"'#\n\\é", max_size=3), max_size=3),
    "optimization": st.fixed_dictionaries(
        {},
        optional={
            "graph": st.fixed_dictionaries({}, optional={"level": st.integers(-1, 2)}),
            "eager_batching": st.booleans(),
        },
    ),
    "input": st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from("xyz")},
            optional={
                "dims": st.lists(st.integers(-1, 3), max_size=3),
                "data_type": st.sampled_from(["TYPE_FP32", "TYPE_STRING"]),
            },
        ),
        max_size=3,
    ),
}
PATCHES = st.fixed_dictionaries({}, optional={path: st.one_of(st.none(), value) for path, value in VALUES.items()})


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A configuration written by people: other brackets, separators, comments and line ends than protobuf's own."""
    message = apply(parse(""), draw(PATCHES))
    text = text_format.MessageToString(
        message,
        as_one_line=draw(st.booleans()),
        use_short_repeated_primitives=draw(st.booleans()),
        pointy_brackets=draw(st.booleans()),
    )
    parts = text.split("\n")
    separators = st.sampled_from(["\n", "\n", "\n\n", "  # a { comment ]\n", "\r\n"])
    return "".join(part + draw(separators) for part in parts[:-1]) + parts[-1]


@settings(max_examples=300, deadline=None)
@given(texts(), PATCHES)
def test_the_result_always_says_the_configuration(text: str, patch: dict[str, Any]) -> None:
    config = apply(parse(text), patch)
    assert parse(rewrite(text, config)) == config


@settings(max_examples=100, deadline=None)
@given(texts(), PATCHES)
def test_replacing_whole_fields_says_the_configuration_too(text: str, patch: dict[str, Any]) -> None:
    """What ``rewrite`` falls back on for a spelling that its fine edits cannot do: none is known."""
    old = parse(text)
    config = apply(old, patch)
    edits = textfile._change(Body(text, Span(0, len(text)), locate(text)), old, config, True)
    assert parse(apply_edits(text, edits)) == config


@settings(max_examples=200, deadline=None)
@given(PATCHES)
def test_comments_on_their_own_lines_survive(patch: dict[str, Any]) -> None:
    config = apply(
        parse(NASTY), {path: value for path, value in patch.items() if path not in ("input", "instance_group")}
    )
    text = rewrite(NASTY, config)
    assert parse(text) == config
    assert text.startswith(NASTY.split("\n", maxsplit=1)[0])
    for comment in ("# the image", "# two on the CPU", "# the end"):
        assert comment in text
